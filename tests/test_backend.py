"""A backend is its options: frozen, exact, and named for ever by those that matter."""

from dataclasses import replace
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from pillm import (
    Answer,
    Contract,
    Metric,
    Prompt,
    Teacher,
    Unavailable,
)


class Sampler(Teacher):
    """Answers warmly."""

    name: ClassVar[str] = "sampler"
    model: str = Field("m", description="The model.")
    temperature: float = Field(0.7, description="How warm.")
    batch_size: int = Field(8, description="Rows at once.", json_schema_extra={"key": False})

    def answer(self, requests):
        return ((request, Answer("a")) for request in requests)


class Judge(Metric):
    """Asks a teacher."""

    name: ClassVar[str] = "judge"
    teacher: Teacher = Field(description="Who judges.")

    def score(self, prompt, answer):
        return 1.0


def test_options_are_named_frozen_and_exact():
    with pytest.raises(TypeError):
        Sampler("m")
    with pytest.raises(ValidationError, match="frozen"):
        Sampler().model = "n"
    with pytest.raises(ValidationError, match="Extra inputs"):
        Sampler(temprature=1)


def test_the_identity_has_every_option_that_matters_and_is_not_at_its_default():
    assert Sampler().identity() == {"use": "sampler"}
    assert Sampler(model="n", temperature=0).identity() == {"use": "sampler", "model": "n", "temperature": 0.0}
    assert Sampler(batch_size=64).identity() == Sampler().identity()
    assert Sampler(model="n").identity() != Sampler().identity()
    assert Sampler(temperature=0).identity() != Sampler().identity()


def test_a_new_option_with_a_default_keeps_every_answer_that_was_bought():
    class Grown(Sampler):
        """Answers as before, and can do more."""

        stop: str | None = Field(None, description="Where an answer ends.")
        tries: list[int] = Field(default_factory=lambda: [1], description="How often.")
        judge: Teacher | None = Field(None, description="Who judges.")

    for options in ({}, {"model": "n", "temperature": 0.1}):
        assert Grown(**options).identity() == Sampler(**options).identity()
    assert Grown(stop=".").identity() == {"use": "sampler", "stop": "."}
    assert Grown(tries=[2]).identity() != Grown(tries=[1]).identity() == Grown().identity()


def test_a_required_option_and_one_that_only_looks_like_its_default_stay_in_the_identity():
    class Strict(Sampler):
        """Needs a model."""

        model: str = Field(description="The model.")
        cut: bool | int = Field(1, description="Whether to cut, or where.")
        inner: Teacher = Field(Sampler(model="n"), description="Who helps.")

    assert Strict(model="m").identity() == {"use": "sampler", "model": "m"}
    assert Strict(model="m", cut=True).identity() == {"use": "sampler", "model": "m", "cut": True}
    assert Strict(model="m", inner=Sampler(model="n", batch_size=2)).identity() == Strict(model="m").identity()
    assert Strict(model="m", inner=Sampler()).identity()["inner"] == {"use": "sampler"}


def test_the_keys_of_answers_are_what_they_always_were():
    """A changed key buys every answer again: these may never change while the key's version stays."""
    prompt = Prompt(
        id="r1",
        messages=({"role": "user", "content": "Allume la lumière de l'érablière."},),
        schema={"type": "object", "properties": {"n": {"type": "number", "minimum": 0.5}}},
    )
    told = Contract(system="Answer in JSON.")
    fixed = {"use": "openai", "model": "m", "server": "localhost:8080/v1", "temperature": 0.5}
    asked = [
        told.request(prompt, fixed),
        told.request(prompt, Sampler().identity(), sample=2),
        Contract().request(replace(prompt, id="other", schema=None), Sampler(model="n").identity()),
    ]
    assert [request.key for request in asked] == [
        "v1:4b49967efa430ce2022d0ebbcdf502b2bf0f60ed6cd749e2c088f78a6baf5eb8",
        "v1:58d0ff5834b8b6a1eaad8261d6518213291c874841a8b0e82b87321756c7f8df",
        "v1:443e5d36d7c06426c20be7bc7b68b241c5631048f00aaa9ab9c548e5b3ac9c18",
    ]


def test_the_options_have_every_option():
    assert Sampler().options() == {"use": "sampler", "model": "m", "temperature": 0.7, "batch_size": 8}


def test_a_backend_inside_a_backend_is_told_whole():
    judge = Judge(teacher=Sampler(model="n"))
    assert judge.options()["teacher"] == {"use": "sampler", "model": "n", "temperature": 0.7, "batch_size": 8}
    assert judge.identity() == {"use": "judge", "teacher": {"use": "sampler", "model": "n"}}
    assert judge.identity() == Judge(teacher=Sampler(model="n", batch_size=1)).identity()


def test_a_backend_needs_nothing_but_what_the_backends_among_its_options_need():
    class Keyed(Sampler):
        """Needs a key."""

        def check(self):
            raise Unavailable("the key is not set.")

    assert Judge(teacher=Sampler()).check() is None
    with pytest.raises(Unavailable, match="the key is not set"):
        Judge(teacher=Keyed()).check()


def test_a_preset_is_a_subclass_and_an_explicit_option_beats_it():
    class Warm(Sampler):
        """Answers very warmly."""

        name: ClassVar[str] = "warm"
        temperature: float = Field(1.5, description="How warm.")

    assert (Warm().temperature, Warm(temperature=0.1).temperature) == (1.5, 0.1)
    assert Warm().identity()["use"] == "warm"
