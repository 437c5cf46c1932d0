"""Looking at batches again: what was handed in is found by every later run, stored, and judged once its rows are asked for."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from pillm.answers import AnswerStore
from pillm.batches import BatchError, BatchStatus
from pillm.errors import Unavailable
from pillm.progress import Event, Progress
from pillm.records import Failure
from pillm.rows import prompt_from_row
from pillm.stages.labelling import STORE, Labelling, label
from tests.depot import Depot, answers, depot, go, prompts


def test_what_failed_alone_is_asked_again_while_a_batch_is_open(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not done yet"):
        go(tmp_path, 3, waits=False)

    class Moody(Depot):
        def answer(self, requests: Any) -> Any:
            for request in requests:
                yield request, Failure("rate", "too many")

    both = [*prompts(3), *prompts(2, first=50)]
    moody = Moody(folder=tmp_path / "depot", batched=False, looks=99, waits=False)
    with pytest.raises(Unavailable, match=r"2 failed.*3 pending"):
        label(both, moody, tmp_path / "out")
    with pytest.raises(Unavailable, match=r"2 answered.*3 pending"):
        label(both, depot(tmp_path, batched=False, looks=99, waits=False), tmp_path / "out")


def test_every_run_looks_once_at_what_nobody_asks_about_any_more(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not done yet"):
        go(tmp_path, 3, waits=False, looks=2)
    for look in range(3):
        done = label(prompts(1, first=70), depot(tmp_path, batched=False, looks=2), tmp_path / "out")
        assert done.counts.answered == 1
        with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
            assert len(store.open_batches()) == (1 if look < 1 else 0)
    assert done.up_to_date
    assert len(answers(go(tmp_path, 3))) == 3
    assert len(depot(tmp_path).sold()) == 4


def test_a_row_that_is_asked_again_in_a_batch_is_pending_whatever_it_failed_of_before(tmp_path: Path) -> None:
    go(tmp_path, 1, says={"r0": Failure("refused", "no")})
    again = Labelling(retry=frozenset({"failed"}))
    with pytest.raises(Unavailable, match=r"1 pending"):
        go(tmp_path, 1, waits=False, looks=2, settings=again)
    assert len(answers(go(tmp_path, 1, waits=True))) == 1, "also without --retry"


def test_answers_that_came_before_their_rows_were_looked_at_are_judged_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        go(tmp_path, 6, waits=False)
    go(tmp_path, 6)
    with closing(sqlite3.connect(tmp_path / "out" / STORE)) as store:
        assert store.execute("SELECT count(*) FROM verdicts").fetchone() == (6,)


def test_a_submission_of_unknown_fate_is_never_repeated_but_looked_for(tmp_path: Path) -> None:
    class Cut(Depot):
        def submit(self, requests: Any, name: str) -> str:
            super().submit(requests, name)
            raise BatchError("gateway timeout", passing=True)

    with pytest.raises(Unavailable, match="gateway timeout"):
        label(prompts(3), Cut(folder=tmp_path / "depot"), tmp_path / "out")
    assert len(list((tmp_path / "depot").glob("*.json"))) == 1
    assert len(answers(go(tmp_path, 3, looks=1))) == 3
    assert len(depot(tmp_path).sold()) == 3


def test_the_id_that_was_found_is_kept(tmp_path: Path) -> None:
    class Once(Depot):
        found: ClassVar[int] = 0

        def submit(self, requests: Any, name: str) -> str:
            super().submit(requests, name)
            raise BatchError("cut")

        def find(self, name: str) -> str | None:
            Once.found += 1
            return super().find(name)

    once = Once(folder=tmp_path / "depot", looks=99, waits=False)
    for _ in range(4):
        with pytest.raises(Unavailable):
            label(prompts(3), once, tmp_path / "out")
    assert Once.found == 1


def test_a_look_that_fails_keeps_no_other_batch_from_being_collected(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        go(tmp_path, 6, waits=False)
    with pytest.raises(Unavailable, match=r"no account.*3 answered"):
        go(tmp_path, 6, waits=False, closed=["no account"])
    assert len(answers(go(tmp_path, 6))) == 6


def test_not_being_done_yet_is_no_fault_of_the_teacher(tmp_path: Path) -> None:
    bad = {"r1": Failure("invalid", "bad row")}
    with pytest.raises(Unavailable):
        go(tmp_path, 8, says=bad, waits=False)
    with pytest.raises(Unavailable):
        go(tmp_path, 8, says=bad, waits=False)
    go(tmp_path, 8, says=bad)
    with closing(sqlite3.connect(tmp_path / "out" / STORE)) as store:
        assert store.execute("SELECT kind FROM failures").fetchall() == [("invalid",)]


def test_a_provider_that_says_how_long_to_wait_is_not_asked_before(tmp_path: Path) -> None:
    class Asked(Depot):
        at: list[float] = Field(default_factory=list, json_schema_extra={"key": False})

        def poll(self, batch: str) -> BatchStatus:
            self.at.append(time.monotonic())
            if len(self.at) == 2:
                raise BatchError("busy", passing=True, wait=0.5)
            return super().poll(batch)

    asked = Asked(folder=tmp_path / "depot", looks=4)
    label(prompts(2), asked, tmp_path / "out")
    assert asked.at[2] - asked.at[1] >= 0.5


def test_a_folder_that_is_reused_says_what_it_has_not_collected(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        go(tmp_path, 3, waits=False)
    heard: list[Event] = []
    settings = Labelling(reuse=(tmp_path / "out",))
    label(prompts(3), depot(tmp_path), tmp_path / "b", settings=settings, progress=Progress("label", (heard.append,)))
    assert any("1 batches of" in event.message and "bought again" in event.message for event in heard)


def test_batches_of_a_teacher_with_other_options_are_told_of(tmp_path: Path) -> None:
    class Other(Depot):
        style: str = Field("")

    with pytest.raises(Unavailable):
        label(prompts(3), Other(folder=tmp_path / "depot", waits=False, style="a"), tmp_path / "out")
    heard: list[Event] = []
    other = Other(folder=tmp_path / "depot", style="b")
    label(prompts(3), other, tmp_path / "out", progress=Progress("label", (heard.append,)))
    assert any("1 batches of a teacher with other options" in event.message for event in heard)


def test_a_result_that_no_row_asks_about_is_judged_when_one_does(tmp_path: Path) -> None:
    strict = {"type": "object", "required": ["x"]}
    row = prompt_from_row({"id": "r", "user": "question", "schema": strict})
    with pytest.raises(Unavailable):
        label([row], depot(tmp_path, waits=False), tmp_path / "out")
    label(prompts(1, 50), depot(tmp_path), tmp_path / "out")
    label(prompts(1, 50), depot(tmp_path), tmp_path / "out", settings=Labelling(limit=1))
    labelled = label([row], depot(tmp_path), tmp_path / "out")
    assert labelled.counts.rejected == 1
    with closing(sqlite3.connect(tmp_path / "out" / STORE)) as store:
        query = "SELECT accepted FROM verdicts WHERE key IN (SELECT key FROM calls ORDER BY id LIMIT 1)"
        assert store.execute(query).fetchall() == [(0,)]
