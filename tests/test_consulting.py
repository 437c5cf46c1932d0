"""A judge is a teacher: what it says is stored, asked once, and asked again only where it may yet come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from pillm.backends import Teacher
from pillm.choosing import Candidate, choose
from pillm.errors import Unavailable
from pillm.judging import Judge, Rubric, score_question
from pillm.records import Answer, Failure, Prompt, Request
from pillm.stages.consulting import asking, compared, consult, scores_of
from pillm.stages.pairs import pairs_of
from pillm.tournament import Contest, judge_contests


class Referee(Teacher):
    """Prefers what is longer, and scores by length; counts what it is asked."""

    name: ClassVar[str] = "referee"
    bad: tuple[str, ...] = Field((), description="Answers on which it gives no JSON.")
    down: tuple[str, ...] = Field((), description="Answers on which its server fails.", json_schema_extra={"key": False})
    asked: list[str] = Field(default_factory=list, json_schema_extra={"key": False})

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            self.asked.append(request.key)
            shown = json.loads(request.prompt.text)
            yield request, self._say(shown)

    def _say(self, shown: dict[str, str]) -> Answer | Failure:
        if "answer_A" in shown:
            winner = "A" if len(shown["answer_A"]) > len(shown["answer_B"]) else "B"
            return Answer(json.dumps({"reason": "length", "winner": winner}))
        if shown["answer"] in self.down:
            return Failure("server", "503")
        if shown["answer"] in self.bad:
            return Answer("I like it.")
        return Answer(json.dumps({"reason": "length", "scores": {"length": min(10, len(shown["answer"]))}}))


def row(name: str) -> Prompt:
    return Prompt(id=name, messages=({"role": "user", "content": name},))


def judge(referee: Referee) -> Judge:
    return Judge(teacher=referee, rubric="length: how long it is")


def test_all_rows_are_asked_together_and_a_second_time_nothing_is(tmp_path: Path) -> None:
    referee, rows = Referee(), [(row("a"), Answer("x")), (row("b"), Answer("x" * 10)), (row("c"), Answer(""))]
    wanted = {"a": 0.0, "b": 1.0, "c": 0.0}
    assert scores_of(judge(referee), rows, tmp_path) == wanted
    assert len(referee.asked) == 2, "an empty answer needs no judge"
    assert scores_of(judge(referee), rows, tmp_path) == wanted
    assert scores_of(judge(referee), [*rows, (row("d"), Answer("xx"))], tmp_path)["d"] == pytest.approx(1 / 9)
    assert len(referee.asked) == 3


def test_a_verdict_that_is_none_leaves_its_row_without_a_score(tmp_path: Path) -> None:
    referee = Referee(bad=("odd",))
    assert scores_of(judge(referee), [(row("a"), Answer("odd")), (row("b"), Answer("x"))], tmp_path) == {"a": None, "b": 0.0}


def test_an_outage_is_told_and_the_same_command_asks_for_what_is_missing(tmp_path: Path) -> None:
    rows = [(row("a"), Answer("x")), (row("b"), Answer("xx"))]
    with pytest.raises(Unavailable, match=r"1 of 2 verdicts of the judge are missing"):
        scores_of(judge(Referee(down=("xx",))), rows, tmp_path)
    healed = Referee()
    assert scores_of(judge(healed), rows, tmp_path)["b"] == pytest.approx(1 / 9)
    assert len(healed.asked) == 1


def test_equal_questions_are_asked_once(tmp_path: Path) -> None:
    referee, rubric = Referee(), Rubric.parse("length: how long it is")
    question = score_question(row("a"), Answer("x"), rubric)
    assert list(consult([question, question], referee, tmp_path)) == [question.id]
    assert len(referee.asked) == 1
    assert consult([], referee, tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()


def test_a_tournament_is_judged_through_the_store_too(tmp_path: Path) -> None:
    referee = Referee()
    contest = Contest(prompt=row("a"), answers={0: Answer("x"), 1: Answer("xxx"), 2: Answer("xx")})
    for _ in range(2):
        (found,) = judge_contests([contest], asking(referee, tmp_path), style="knockout")
        assert max(found.scores, key=lambda number: found.scores[number]) == 1
        assert len(referee.asked) == 4


def test_samples_are_compared_by_a_judge_and_the_one_it_prefers_is_chosen(tmp_path: Path) -> None:
    referee = Referee()
    said = [Candidate(number=number, answer=Answer("x" * length)) for number, length in enumerate((2, 5, 3))]
    refused = Candidate(number=3, answer=Answer("x" * 9), accepted=False)
    rows = [(row("a"), [*said, refused]), (row("b"), said[:1])]
    for _ in range(2):
        first, second = compared(rows, judge(referee), asking(judge(referee).referee, tmp_path))
        assert [one.score for one in first] == [0.0, 1.0, 0.5, None]
        assert [one.score for one in second] == [None]
        assert choose(first, "judge").number == 1
        assert [pair.samples for pair in pairs_of(row("a"), first, per_prompt=9)] == [(1, 3), (1, 0), (1, 2)]
        assert len(referee.asked) == 6
