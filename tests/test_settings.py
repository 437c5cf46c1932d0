"""Settings of labelling: samples, what alone is asked, whose answers serve too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from pillm.answers import AnswerStore
from pillm.errors import ConfigError, DataError
from pillm.records import Answer, Failure, Prompt, Request
from pillm.rows import prompt_from_row
from pillm.stages.labelling import STORE, Labelling, label
from pillm.testing import EchoTeacher
from pillm.verification import verify


class Scripted(EchoTeacher):
    """Answers by row id and sample: what the table says, else "ok"."""

    name: ClassVar[str] = "scripted"
    temperature: float = 0.7
    table: dict[str, str] = Field(default_factory=dict, json_schema_extra={"key": False})
    asked: list[str] = Field(default_factory=list, json_schema_extra={"key": False})

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            name = f"{request.prompt.id}/{request.sample}"
            self.asked.append(name)
            said = self.table.get(name, "ok")
            yield request, Failure("refused" if said == "!" else "server", "no") if said in "!?" and said else Answer(said)


def prompts(count: int) -> list[Prompt]:
    return [prompt_from_row({"id": f"r{i}", "user": f"question {i}"}) for i in range(count)]


def test_so_many_samples_are_asked_for_and_all_are_kept(tmp_path: Path) -> None:
    teacher = Scripted(table={"r0/1": "other"}, window=4)
    done = label(prompts(2), teacher, tmp_path, settings=Labelling(samples=3))
    assert sorted(teacher.asked) == ["r0/0", "r0/1", "r0/2", "r1/0", "r1/1", "r1/2"]
    assert [row.answer.content for row in done] == ["ok", "ok"]
    with AnswerStore(tmp_path / STORE, read_only=True) as store:
        assert store._run("SELECT count(*) FROM answers").fetchone()[0] == 6
        assert store._run("SELECT count(*) FROM verdicts").fetchone()[0] == 6


def test_a_refused_sample_is_made_up_for_while_attempts_are_left(tmp_path: Path) -> None:
    teacher = Scripted(table={"r0/0": "", "r0/1": "", "r0/2": "late"})
    done = label(prompts(1), teacher, tmp_path, settings=Labelling(samples=2, attempts=2))
    assert teacher.asked == ["r0/0", "r0/1", "r0/2", "r0/3"]
    assert [row.answer.content for row in done] == ["late"]


def test_more_samples_later_buy_only_the_further_ones(tmp_path: Path) -> None:
    label(prompts(2), Scripted(), tmp_path)
    further = Scripted()
    label(prompts(2), further, tmp_path, settings=Labelling(samples=2))
    assert further.asked == ["r0/1", "r1/1"]


@pytest.mark.parametrize(
    ("only", "asked"),
    [
        ({"failed"}, ["r1/0", "r2/0"]),
        ({"rejected"}, ["r0/1"]),
        ({"failed", "rejected"}, ["r0/1", "r1/0", "r2/0"]),
        ({"pending"}, ["r4/0"]),
    ],
)
def test_only_the_rows_that_ended_so_are_asked_again(only: set[str], asked: list[str], tmp_path: Path) -> None:
    label(prompts(4), Scripted(table={"r0/0": "", "r1/0": "!", "r2/0": "?"}), tmp_path)
    again = Scripted()
    settings = Labelling(only=frozenset(only), retry=frozenset(only) - {"pending"})
    label(prompts(5), again, tmp_path, settings=settings)
    assert sorted(again.asked) == asked


def test_answers_of_another_folder_serve_here_and_are_kept_here(tmp_path: Path) -> None:
    label(prompts(3), Scripted(), tmp_path / "run" / "label")
    teacher = Scripted()
    done = label(prompts(5), teacher, tmp_path / "new", settings=Labelling(reuse=(tmp_path / "run",)))
    assert teacher.asked == ["r3/0", "r4/0"]
    assert done.counts.answered == 5
    assert verify(tmp_path / "new") == []
    alone = Scripted()
    label(prompts(5), alone, tmp_path / "new", settings=Labelling())
    assert not alone.asked
    with AnswerStore(tmp_path / "new" / STORE, read_only=True) as store:
        outcomes = store._run("SELECT outcome, count(*) FROM calls GROUP BY outcome").fetchall()
    assert dict(outcomes) == {"taken over": 3, "answered": 2}


def test_a_folder_without_a_store_is_not_reused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no answers\.sqlite"):
        label(prompts(1), Scripted(), tmp_path / "new", settings=Labelling(reuse=(tmp_path,)))


def test_samples_that_would_all_be_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="samples is 3, but teacher 'scripted' at temperature 0"):
        label(prompts(1), Scripted(temperature=0.0), tmp_path, settings=Labelling(samples=3))
