from __future__ import annotations

import math
from itertools import islice
from typing import ClassVar

import pytest

import pillm
from pillm.testing.fakes import TableRunner


class Counting(pillm.Session):
    """Embeds a text as its length and its number of words; a text may ask for what no vector is."""

    odd: ClassVar = {"nothing": (), "endless": (math.inf, 1.0), "wide": (1.0, 2.0, 3.0)}

    def answer(self, requests):
        raise AssertionError("asked")

    def embed(self, texts):
        left = iter(texts)
        while group := list(islice(left, 4)):  # as real sessions, it pulls ahead
            if any(len(text) > 20 for text in group):
                raise pillm.DataError("a text is too long. Shorten it.")
            for text in group:
                if text != "gone":
                    yield self.odd.get(text, (float(len(text)), float(len(text.split()))))


class CountingRunner(TableRunner):
    """Embeds by counting."""

    name: ClassVar[str] = "counting"
    capabilities: ClassVar[frozenset[str]] = frozenset({"embed"})

    def open(self, model):
        return Counting()


def embedded(tmp_path, *texts, runner=None):
    rows = [(f"r{number}", text) for number, text in enumerate(texts)]
    return list(pillm.embed(iter(rows), pillm.Checkpoint(path=tmp_path), runner or CountingRunner()))


def test_each_text_gets_its_vector_in_order(tmp_path):
    assert embedded(tmp_path, "one", "two words") == [("r0", (3.0, 1.0)), ("r1", (9.0, 2.0))]


def test_vectors_come_as_texts_are_read(tmp_path):
    def endless():
        number = 0
        while True:
            yield f"r{number}", f"word {number}"
            number += 1

    stream = pillm.embed(endless(), pillm.Checkpoint(path=tmp_path), CountingRunner())
    assert [next(stream)[0] for _ in range(3)] == ["r0", "r1", "r2"]
    stream.close()


@pytest.mark.parametrize("text", ["nothing", "endless", "wide", "gone"])
def test_what_is_no_vector_is_an_error_that_names_the_text(tmp_path, text):
    with pytest.raises(pillm.BackendError, match="'r1' got no vector of finite numbers"):
        embedded(tmp_path, "one", text)


@pytest.mark.parametrize("place", [0, 3, 5, 8])
def test_a_text_that_is_not_taken_is_told_by_its_id_once_those_before_it_have_come(tmp_path, place):
    rows = [((number, "a.jsonl"), "much too long for anybody" if number == place else "short") for number in range(9)]
    stream = pillm.embed(iter(rows), pillm.Checkpoint(path=tmp_path), CountingRunner())
    assert [next(stream)[0][0] for _ in range(place)] == list(range(place))
    with pytest.raises(pillm.DataError, match=rf"^text \({place}, 'a.jsonl'\): a text is too long\. Shorten it\.$"):
        next(stream)


def test_a_row_that_cannot_be_read_is_told_once_those_before_it_have_come(tmp_path):
    def broken():
        yield from ((f"r{number}", "short") for number in range(6))
        raise pillm.DataError("texts.jsonl:7: no text")

    stream = pillm.embed(broken(), pillm.Checkpoint(path=tmp_path), CountingRunner())
    assert [next(stream)[0] for _ in range(6)] == [f"r{number}" for number in range(6)]
    with pytest.raises(pillm.DataError, match=r"^texts\.jsonl:7: no text$"):
        next(stream)


def test_a_runner_that_does_not_embed_is_refused_by_name(tmp_path):
    with pytest.raises(pillm.ConfigError, match="runner 'table' does not embed"):
        embedded(tmp_path, "one", runner=TableRunner())
