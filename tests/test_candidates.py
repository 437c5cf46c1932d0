"""The samples of a labelling folder are read back from its store, none bought again, none lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from pillm.backends import Teacher
from pillm.choosing import Candidate
from pillm.contract import Contract
from pillm.errors import DataError
from pillm.records import Answer, Failure, Prompt, Request
from pillm.rows import prompt_from_row
from pillm.stages.candidates import Reading, contract_of, folder_candidates, with_agreement
from pillm.stages.labelling import Labelling, label

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Sampler(Teacher):
    """Gives the n-th of its texts as the n-th sample; an empty text is a failure."""

    name: ClassVar[str] = "sampler"
    texts: tuple[str, ...] = Field(("a", "b"), description="What it says, by sample number.")

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            text = self.texts[request.sample % len(self.texts)]
            yield request, Answer(text, reasoning="hm") if text else Failure("crashed", "out of luck")


def labelled(folder: Path, teacher: Sampler, prompts: list[Prompt], samples: int = 2) -> dict[str, list[Candidate]]:
    settings = Labelling(samples=samples, contract=Contract(system="Be brief."))
    label(prompts, teacher, folder, settings=settings)
    reading = Reading(identity=teacher.identity(), contract=contract_of(folder))
    return {prompt.id: found for prompt, found in folder_candidates(folder, reading)}


def test_every_sample_is_read_accepted_or_not_and_cleaned_where_it_was_accepted(tmp_path: Path) -> None:
    row = prompt_from_row({"id": "r", "user": "n ?", "schema": SCHEMA})
    found = labelled(tmp_path, Sampler(texts=('{"n": "x"}', '{"n": 1}', '```json\n{"n": 2}\n```')), [row], samples=3)["r"]
    assert [(one.number, one.answer.content, one.accepted) for one in found] == [
        (0, '{"n": "x"}', False), (1, '{"n": 1}', True), (2, '{"n": 2}', True),
    ]  # fmt: skip
    assert {one.answer.reasoning for one in found} == {None}, "a trace is left out unless it is asked for"


def test_rejected_rows_are_read_too_and_rows_that_arrived_answered_have_no_samples(tmp_path: Path) -> None:
    rows = [
        prompt_from_row({"id": "bad", "user": "n ?", "schema": SCHEMA}),
        prompt_from_row({"id": "given", "user": "hi", "assistant": "salut"}),
    ]
    found = labelled(tmp_path, Sampler(texts=("no", "never")), rows)
    assert [one.accepted for one in found["bad"]] == [False, False]
    assert found["given"] == []


def test_a_call_that_failed_leaves_a_gap_and_hides_nothing_behind_it(tmp_path: Path) -> None:
    found = labelled(tmp_path, Sampler(texts=("a", "", "c")), [prompt_from_row({"id": "r", "user": "hi"})], samples=3)["r"]
    assert [one.number for one in found] == [0, 2]
    found = labelled(tmp_path / "more", Sampler(texts=("a", "")), [prompt_from_row({"id": "r", "user": "hi"})], samples=21)["r"]
    assert [one.number for one in found] == list(range(0, 21, 2))


def test_a_prompt_is_told_as_it_was_sent(tmp_path: Path) -> None:
    teacher = Sampler()
    labelled(tmp_path, teacher, [prompt_from_row({"id": "r", "user": "hi"})])
    reading = Reading(identity=teacher.identity(), contract=contract_of(tmp_path))
    ((prompt, _),) = folder_candidates(tmp_path, reading)
    assert [message["role"] for message in prompt.messages] == ["system", "user"]


def test_agreement_is_the_share_of_accepted_samples_that_say_the_same() -> None:
    row = Prompt(id="r", messages=({"role": "user", "content": "?"},))
    said = [Candidate(number=number, answer=Answer(text), accepted=text != "no") for number, text in enumerate("aab")]
    said.append(Candidate(number=3, answer=Answer("no"), accepted=False))
    assert [one.score for one in with_agreement(row, said)] == [2 / 3, 2 / 3, 1 / 3, None]


def test_a_folder_without_a_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no answers\.sqlite"):
        list(folder_candidates(tmp_path, Reading(identity={}, contract=Contract())))
