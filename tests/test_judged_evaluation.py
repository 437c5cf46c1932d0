"""The metric `judge` in evaluations and runs: all questions of a subject at once, stored, never bought twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

import pillm
from pillm.backends import Teacher
from pillm.contract import Contract
from pillm.errors import Unavailable
from pillm.judging import Judge
from pillm.metrics import Exact
from pillm.progress import Progress
from pillm.recipe import load_recipe
from pillm.records import Answer, Failure, Prompt, Request
from pillm.rows import prompt_from_row
from pillm.stages.evaluation import Evaluation
from pillm.subjects import Scoring, ask_teacher, score
from pillm.testing import FAKES, EchoTeacher, installed_plugin
from pillm.verification import verify

REFEREE = '''
import json
import pillm

class Referee(pillm.Teacher):
    """Scores by length."""

    name = "referee"

    def answer(self, requests):
        for request in requests:
            shown = json.loads(request.prompt.text)
            names = request.prompt.schema["properties"]["scores"]["required"]
            scores = dict.fromkeys(names, max(1, min(10, len(shown["answer"]))))
            yield request, pillm.Answer(json.dumps({"reason": "length", "scores": scores}))

@pillm.hookimpl
def pillm_teachers():
    return [Referee]
'''


class Referee(Teacher):
    """Scores by length; counts what it is asked."""

    name: ClassVar[str] = "referee"
    asked: list[str] = Field(default_factory=list, json_schema_extra={"key": False})
    down: bool = Field(False, json_schema_extra={"key": False})

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            self.asked.append(request.key)
            shown = json.loads(request.prompt.text)
            names = (request.prompt.schema or {})["properties"]["scores"]["required"]
            said = json.dumps({"reason": "length", "scores": dict.fromkeys(names, min(10, len(shown["answer"])))})
            yield request, Failure("server", "503") if self.down else Answer(said)


ROWS: list[Prompt] = [prompt_from_row({"id": f"r{length}", "user": "x" * length}) for length in (1, 4, 10)]


def scored(folder: Path, referee: Referee, seed: int = 0) -> Evaluation:
    metrics = [Exact(), Judge(teacher=referee)]
    scoring = Scoring(
        folder=folder, sets={"test": ROWS}, metrics=metrics, contract=Contract(), seed=seed, progress=Progress("evaluate")
    )
    (found,) = score(ask_teacher(EchoTeacher(), scoring)[0], scoring)
    return found


def test_verdicts_are_stored_and_a_further_scoring_asks_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="3 of 3 verdicts"):
        scored(tmp_path, Referee(down=True))
    referee = Referee()
    for seed in (0, 0, 3):
        assert scored(tmp_path, referee, seed).metrics["judge"].mean == pytest.approx((0 + 3 / 9 + 1) / 3)
        assert len(referee.asked) == 3
    assert verify(tmp_path / "teacher" / "test") == []


def test_an_evaluation_of_its_own_is_judged_too(tmp_path: Path) -> None:
    one = pillm.evaluate(ROWS, EchoTeacher(), [Judge(teacher=Referee())], out=tmp_path / "alone")
    assert one.metrics["judge"].rows == 3


def test_a_run_with_a_judge_is_up_to_date_the_second_time_and_its_verdicts_are_verified(tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "user": f"say {i}", "reference": {"content": f"said {i}"}, "group": str(i)} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(
        "prompts: rows.jsonl\nsplit: {test: 4}\nteacher: {use: echo}\ntrainer: {use: table}\n"
        "exporter: {use: table, quants: [F16]}\nrunner: {use: table}\ncheckpoint_runner: {use: table}\n"
        "evaluate: {metrics: [exact, {use: judge, teacher: {use: referee}}]}\n"
    )
    events: list[pillm.Event] = []
    with installed_plugin(tmp_path / "site", "fakes", FAKES), installed_plugin(tmp_path / "more", "referees", REFEREE):
        recipe = load_recipe(tmp_path / "recipe.yaml")
        first = pillm.run(recipe, tmp_path / "run")
        assert all("judge" in one["metrics"] for one in first.report["evaluations"])
        pillm.run(recipe, tmp_path / "run", progress=Progress("", (events.append,)))
    assert {event.kind for event in events if event.kind in ("finish", "up-to-date")} == {"up-to-date"}
    (store,) = (tmp_path / "run" / "evaluate" / "judged").rglob("answers.sqlite")
    store.write_bytes(bytes([store.read_bytes()[0] ^ 1]) + store.read_bytes()[1:])
    assert [problem.path for problem in verify(tmp_path / "run")] == [store]
