"""Where a row stands follows from what is stored: its samples, their repairs, and which of them is chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from pillm.answers import AnswerStore
from pillm.errors import ConfigError, Unavailable
from pillm.records import Answer, Failure, Prompt, Request
from pillm.rows import prompt_from_row
from pillm.stages.labelling import REJECTED, STORE, Labelling, label
from pillm.testing import EchoTeacher
from pillm.verification import verify

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


class Learner(EchoTeacher):
    """Says what the list holds, one after the other, and notes what it is told."""

    name: ClassVar[str] = "learner"
    temperature: float = 0.7
    says: list[str] = Field(default_factory=list, json_schema_extra={"key": False})
    told: list[str] = Field(default_factory=list, json_schema_extra={"key": False})

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            self.told.append(str(request.messages[-1]["content"]))
            said = self.says.pop(0)
            yield request, Failure("server", "gone") if said == "?" else Answer(said, reasoning="Step one. Step two.")


def prompts(count: int = 1, **row: object) -> list[Prompt]:
    return [prompt_from_row({"id": f"r{i}", "user": f"question {i}", "schema": SCHEMA, **row}) for i in range(count)]


def test_a_refused_answer_is_shown_to_the_teacher_with_its_error(tmp_path: Path) -> None:
    teacher = Learner(says=['{"n": "one"}', "still no JSON", '{"n": 1}'])
    done = label(prompts(), teacher, tmp_path, settings=Labelling(repair=2))
    assert [row.answer.content for row in done] == ['{"n": 1}']
    assert "At $.n: 'one' is not of type 'integer'" in teacher.told[1]
    assert "not valid JSON" in teacher.told[2]
    again = Learner()
    assert label(prompts(), again, tmp_path, settings=Labelling(repair=2)).up_to_date
    with AnswerStore(tmp_path / STORE, read_only=True) as store:
        assert store._run("SELECT count(*) FROM answers").fetchone()[0] == 3, "every answer is kept"


def test_a_row_whose_repairs_are_used_up_is_rejected_or_tried_anew(tmp_path: Path) -> None:
    bad = ["no", "no"]
    assert label(prompts(), Learner(says=list(bad)), tmp_path / "one", settings=Labelling(repair=1)).counts.rejected == 1
    teacher = Learner(says=[*bad, '{"n": 2}'])
    done = label(prompts(), teacher, tmp_path / "two", settings=Labelling(repair=1, attempts=2))
    assert [row.answer.content for row in done] == ['{"n": 2}']
    refused = json.loads((tmp_path / "one" / REJECTED).read_text())["refused"]
    assert refused["answer"] == "no"


def test_a_repair_that_fails_is_asked_again_and_the_answer_before_it_is_not(tmp_path: Path) -> None:
    settings = Labelling(repair=1)
    first = label(prompts(), Learner(says=["no", "?"]), tmp_path, settings=settings)
    assert (first.counts.failed, first.transient) == (1, 1)
    healed = Learner(says=['{"n": 3}'])
    assert label(prompts(), healed, tmp_path, settings=settings).counts.answered == 1
    assert len(healed.told) == 1


def test_what_most_samples_say_is_chosen(tmp_path: Path) -> None:
    teacher = Learner(says=['{"n": 1}', '{"n": 2}', '{ "n":2 }'])
    done = label(prompts(), teacher, tmp_path, settings=Labelling(samples=3, choose="majority"))
    assert [row.answer.content for row in done] == ['{"n": 2}']


def test_another_choice_asks_nothing_and_labels_anew(tmp_path: Path) -> None:
    label(prompts(), Learner(says=['{"n": 1}', '{"n": 2}', '{"n": 2}']), tmp_path, settings=Labelling(samples=3))
    done = label(prompts(), Learner(), tmp_path, settings=Labelling(samples=3, choose="majority"))
    assert not done.up_to_date
    assert [row.answer.content for row in done] == ['{"n": 2}']


def test_json_in_a_fence_is_trained_on_bare_and_stored_as_it_came(tmp_path: Path) -> None:
    done = label(prompts(), Learner(says=['Here:\n```json\n{"n": 1}\n```']), tmp_path)
    assert [row.answer.content for row in done] == ['{"n": 1}']
    with AnswerStore(tmp_path / STORE, read_only=True) as store:
        assert "```" in store._run("SELECT answer FROM answers").fetchone()[0]


@pytest.mark.parametrize(("policy", "kept"), [("strip", None), ("keep", "Step one. Step two."), (3, "Step two.")])
def test_the_trace_is_kept_stripped_or_shortened(policy: object, kept: str | None, tmp_path: Path) -> None:
    done = label(prompts(), Learner(says=['{"n": 1}']), tmp_path, settings=Labelling(reasoning=policy))  # type: ignore[arg-type]
    assert [row.answer.reasoning for row in done] == [kept]


def test_a_judge_and_its_choice_go_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give both choose and judge"):
        label(prompts(), Learner(), tmp_path, settings=Labelling(choose="judge"))


def test_a_folder_with_repairs_verifies(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="stopped"):
        label(prompts(2), Stops(), tmp_path, settings=Labelling(repair=1))
    label(prompts(2), Learner(says=['{"n": 1}', '{"n": 1}']), tmp_path, settings=Labelling(repair=1))
    assert verify(tmp_path) == []


class Stops(EchoTeacher):
    """Has no money."""

    name: ClassVar[str] = "learner"

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        yield next(requests), Failure("quota", "spent", stop=True)
