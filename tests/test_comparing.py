"""A judge chooses among the samples of a row: what it says is stored, and never bought twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from pillm.answers import AnswerStore
from pillm.errors import ConfigError
from pillm.judging import Judge
from pillm.records import Answer, Failure, Prompt, Request
from pillm.rows import prompt_from_row
from pillm.stages.labelling import STORE, Labelling, label
from pillm.testing import EchoTeacher
from pillm.verification import verify


class Rambler(EchoTeacher):
    """Says more with every sample but the last."""

    name: ClassVar[str] = "rambler"
    temperature: float = 0.7

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            yield request, Answer("word " * (1, 5, 2)[request.sample])


class Referee(EchoTeacher):
    """Prefers what is longer; counts what it is asked."""

    name: ClassVar[str] = "referee"
    asked: list[str] = Field(default_factory=list, json_schema_extra={"key": False})

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            shown = json.loads(request.prompt.text)
            self.asked.append(request.prompt.text)
            winner = "A" if len(shown["answer_A"]) > len(shown["answer_B"]) else "B"
            yield request, Answer(json.dumps({"reason": "length", "winner": winner}))


def prompts(count: int) -> list[Prompt]:
    return [prompt_from_row({"id": f"r{i}", "user": f"question {i}", "reference": {"content": "TRUTH"}}) for i in range(count)]


def test_the_sample_that_the_judge_prefers_is_trained_on(tmp_path: Path) -> None:
    referee = Referee()
    settings = Labelling(samples=3, choose="judge", judge=Judge(teacher=referee))
    done = label(prompts(2), Rambler(), tmp_path, settings=settings)
    assert [len(row.answer.content.split()) for row in done] == [5, 5]
    assert len(referee.asked) == 12, "three pairs of each row, in both orders"
    assert not any("TRUTH" in asked for asked in referee.asked)
    assert verify(tmp_path) == []
    assert label(prompts(2), Rambler(), tmp_path, settings=settings).up_to_date
    label(prompts(3), Rambler(), tmp_path, settings=settings)
    assert len(referee.asked) == 18, "only the new row is compared"


def test_verdicts_are_attributed_and_another_judge_is_asked_anew(tmp_path: Path) -> None:
    for rubric in ("length: how long it is", "brevity: how short it is"):
        referee = Referee()
        label(
            prompts(1),
            Rambler(),
            tmp_path,
            settings=Labelling(samples=3, choose="judge", judge=Judge(teacher=referee, rubric=rubric)),
        )
        assert referee.asked
    with AnswerStore(tmp_path / STORE, read_only=True) as store:
        judges = store._run("SELECT judge, count(*) FROM verdicts GROUP BY judge ORDER BY judge").fetchall()
    assert [count for _, count in judges] == [3, 3, 3]
    assert [name.partition(":")[0] for name, _ in judges] == ["judge", "judge", "pillm"]


def test_a_row_with_one_accepted_sample_needs_no_judge(tmp_path: Path) -> None:
    class Terse(Rambler):
        """Says something once."""

        name: ClassVar[str] = "terse"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            for request in requests:
                yield request, Answer("word" if request.sample == 0 else "")

    referee = Referee()
    settings = Labelling(samples=2, choose="judge", judge=Judge(teacher=referee))
    assert label(prompts(1), Terse(), tmp_path, settings=settings).counts.answered == 1
    assert not referee.asked


def test_a_cap_that_does_not_reach_the_judge_is_refused_and_the_remedy_works(tmp_path: Path) -> None:
    referee = Referee()
    judged = Labelling(samples=3, choose="judge", judge=Judge(teacher=referee))
    with pytest.raises(ConfigError, match=r"do not reach the judge.*Label with the caps first"):
        label(prompts(1), Rambler(), tmp_path, settings=replace(judged, max_tokens=1000))
    label(prompts(1), Rambler(), tmp_path, settings=Labelling(samples=3, max_tokens=1000))
    assert not referee.asked
    done = label(prompts(1), Rambler(), tmp_path, settings=judged)
    assert [len(row.answer.content.split()) for row in done] == [5]
