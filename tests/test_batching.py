"""Asking through a provider's batch queue: what was submitted is found again, collected once, and never bought twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from pillm.answers import AnswerStore
from pillm.batches import BatchError, BatchStatus
from pillm.errors import ConfigError, Interrupted, Unavailable
from pillm.progress import Event, Progress
from pillm.records import Failure, Prompt
from pillm.rows import prompt_from_row
from pillm.stages.labelling import STORE, Labelled, Labelling, forecast, label
from pillm.verification import verify
from tests.depot import Depot


def prompts(count: int, first: int = 0) -> list[Prompt]:
    return [prompt_from_row({"id": f"r{i}", "user": f"question {i}"}) for i in range(first, first + count)]


def depot(folder: Path, **options: Any) -> Depot:
    return Depot(folder=folder / "depot", **options)


def go(folder: Path, count: int = 8, **options: Any) -> Labelled:
    settings = options.pop("settings", None)
    return label(prompts(count), depot(folder, **options), folder / "out", settings=settings)


def answers(labelled: Labelled) -> dict[str, str]:
    return {example.prompt.id: example.answer.content for example in labelled}


def test_rows_are_asked_in_batches_and_published_in_their_order(tmp_path: Path) -> None:
    labelled = go(tmp_path)
    assert answers(labelled) == {f"r{i}": f"said to r{i}" for i in range(8)}
    assert [example.prompt.id for example in labelled] == [f"r{i}" for i in range(8)]
    assert sorted(len(json.loads(p.read_text())) for p in (tmp_path / "depot").glob("*.json")) == [2, 3, 3]
    assert verify(tmp_path / "out") == []
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        assert store.open_batches() == []
        assert store.unknown_outcomes() == []
        assert store.spent().tokens == 8 * 5


def test_equal_questions_are_in_a_batch_once(tmp_path: Path) -> None:
    rows = [prompt_from_row({"id": f"r{i}", "user": "the same"}) for i in range(4)]
    labelled = label(rows, depot(tmp_path), tmp_path / "out")
    assert len(answers(labelled)) == 4
    assert len(depot(tmp_path).sold()) == 1


def test_a_run_that_does_not_wait_leaves_and_the_same_command_collects(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"not done yet \(0 of 6\).*8 pending.*The same command resumes"):
        go(tmp_path, waits=False)
    assert len(depot(tmp_path).sold()) == 6, "two batches of three at once"
    with pytest.raises(Unavailable, match=r"not done yet \(0 of 2\).*6 answered.*2 pending"):
        go(tmp_path, waits=False)
    assert answers(go(tmp_path, waits=False)) == {f"r{i}": f"said to r{i}" for i in range(8)}
    assert len(depot(tmp_path).sold()) == 8


def test_rows_that_wait_in_a_batch_are_forecast_apart_and_not_to_be_asked(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        go(tmp_path, waits=False)
    expected = forecast(prompts(9), depot(tmp_path), tmp_path / "out")
    assert (expected.in_batches, expected.to_ask) == (6, 3)
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        assert store.unknown_outcomes() == [], "they will be heard of"


def test_a_teacher_that_asks_one_by_one_again_collects_first_what_is_in_batches(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        go(tmp_path, waits=False)
    said = answers(go(tmp_path, batched=False))
    assert [row for row, text in said.items() if text.startswith("one by one")] == ["r6", "r7"]
    assert len(depot(tmp_path).sold()) == 8


def test_results_of_rows_that_are_no_longer_asked_for_are_stored_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        go(tmp_path, waits=False)
    label(prompts(2, first=100), depot(tmp_path), tmp_path / "out")
    assert answers(go(tmp_path)) == {f"r{i}": f"said to r{i}" for i in range(8)}
    assert len(depot(tmp_path).sold()) == 10


def test_what_a_batch_has_no_result_for_is_asked_again_by_the_next_run(tmp_path: Path) -> None:
    first = go(tmp_path, says={"r1": "nothing", "r2": Failure("refused", "not for sale")})
    assert (first.counts.answered, first.counts.failed, first.transient) == (6, 2, 1)
    again = go(tmp_path)
    assert (again.counts.answered, again.counts.failed) == (7, 1), "a refusal is asked again on demand only"
    assert len(depot(tmp_path).sold()) == 9


def test_a_batch_whose_fate_is_unknown_is_found_by_its_name_or_asked_anew(tmp_path: Path) -> None:
    go(tmp_path, waits=True, count=1)

    class Forgetful(Depot):
        """Takes the batch and dies before it says so, or dies before."""

        takes: bool = Field(json_schema_extra={"key": False})

        def submit(self, requests: Any, name: str) -> str:
            if self.takes:
                super().submit(requests, name)
            raise Unavailable("the line was cut")

    for takes, bought in ((True, 4), (False, 7)):
        with pytest.raises(Unavailable, match="the line was cut"):
            label(prompts(bought), Forgetful(folder=tmp_path / "depot", takes=takes), tmp_path / "out")
        assert len(answers(go(tmp_path, count=bought))) == bought
        assert len(depot(tmp_path).sold()) == bought, "each was bought once"


def test_a_batch_that_was_certainly_not_taken_leaves_no_trace_but_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no account.*8 pending"):
        go(tmp_path, closed=["no account"])
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        assert (store.open_batches(), store.unknown_outcomes(), store.spent().tokens) == ([], [], 0)
    assert len(answers(go(tmp_path, batched=False))) == 8


def test_what_fails_in_passing_is_asked_again_and_not_without_end(tmp_path: Path) -> None:
    heard: list[Event] = []
    progress = Progress("label", (heard.append,))
    tired = ["busy", False, False, "busy", False, "busy", "busy"]  # of two submissions, then of looks
    label(prompts(6), depot(tmp_path, closed=tired), tmp_path / "out", progress=progress)
    assert sum("asked again in" in event.message for event in heard) >= 3
    assert len(depot(tmp_path).sold()) == 6
    with pytest.raises(Unavailable, match="the depot is busy"):
        go(tmp_path / "b", closed=[False, False, *["busy"] * 140])
    with pytest.raises(Unavailable, match="the depot is busy"):
        go(tmp_path / "c", closed=["busy"], waits=False)
    assert len(answers(go(tmp_path / "b"))) == len(answers(go(tmp_path / "c"))) == 8


def lose(folder: Path, which: int = 0) -> int:
    """Have a depot forget a batch; return how many requests were in it."""
    path = sorted((folder / "depot").glob("*.json"), key=lambda one: one.stat().st_mtime_ns)[which]
    held = len(json.loads(path.read_text()))
    path.unlink()
    return held


@pytest.mark.parametrize("batched", [True, False])
def test_a_batch_that_is_gone_holds_up_its_own_rows_alone_until_it_is_given_up(tmp_path: Path, batched: bool) -> None:
    with pytest.raises(Unavailable, match="not done yet"):
        go(tmp_path, waits=False)
    lost = lose(tmp_path)
    for _ in range(2):
        with pytest.raises(Unavailable, match=rf"has no batch-.* any more.*{8 - lost} answered.*{lost} pending"):
            go(tmp_path, batched=batched)
    heard: list[Event] = []
    settings = Labelling(max_tokens=99)
    giving_up = depot(tmp_path, batched=batched, gives_up=True)
    given_up = label(prompts(8), giving_up, tmp_path / "out", settings=settings, progress=Progress("label", (heard.append,)))
    assert len(answers(given_up)) == 8
    assert any(f"given up: {lost} requests are asked anew" in event.message for event in heard)
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        paid = 8 * 5 if batched else 3 * 5 + 5 * 10  # alone it tells no usage: what was set aside counts
        assert store.spent().tokens == paid + lost * 10, "what may have been billed counts beside what was paid"
        assert len(store.unknown_outcomes()) == 0, "they are answered now"


def test_looking_again_and_again_buys_nothing_anew_that_failed_or_was_rejected_meanwhile(tmp_path: Path) -> None:
    """A pass goes on from run to run until its batches have ended: only then does the next retry."""
    bad = {f"r{i}": Failure("rate", "too many") if i % 2 else "nothing" for i in range(6)}
    again = Labelling(retry=frozenset({"failed", "rejected"}))
    for look in range(4):
        options: dict[str, Any] = {"says": bad, "settings": again, "waits": False, "at_once": 1, "size": 4}
        if look < 3:
            with pytest.raises(Unavailable, match="not done yet"):
                go(tmp_path, 10, **options)
        else:
            assert go(tmp_path, 10, **options).counts.failed == 6
    assert len(depot(tmp_path).sold()) == 10
    assert len(answers(go(tmp_path, 10))) == 10, "the next pass asks for what failed"


def test_a_batch_that_is_gone_keeps_nobody_else_from_being_asked_again(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not done yet"):
        go(tmp_path, 6, waits=False)
    lose(tmp_path)
    for _ in range(2):  # the second batch has no result for r4: it failed, and is asked again by the next run
        with pytest.raises(Unavailable, match="any more"):
            go(tmp_path, 6, says={"r4": "nothing"})
    with pytest.raises(Unavailable, match=r"any more.*3 answered.*3 pending"):
        go(tmp_path, 6)


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


def test_a_batch_that_was_turned_down_as_one_too_many_is_handed_in_again_later(tmp_path: Path) -> None:
    class Narrow(Depot):
        """Turns a second batch down while a first one is there."""

        down: list[str] = Field(default_factory=list, json_schema_extra={"key": False})

        def submit(self, requests: Any, name: str) -> str:
            batch = super().submit(requests, name)
            if len(list(self.folder.glob("*.json"))) == 2:
                self.down.append(batch)
            return batch

        def poll(self, batch: str) -> BatchStatus:
            if batch in self.down:
                return BatchStatus(ended=True, failure=Failure("server", "too much enqueued", stop=True))
            return super().poll(batch)

        def collect(self, batch: str) -> Any:
            return iter(()) if batch in self.down else super().collect(batch)

    narrow = Narrow(folder=tmp_path / "depot", looks=3)
    labelled = label(prompts(6), narrow, tmp_path / "out")
    assert labelled.counts.answered == 6
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        assert store.spent().tokens == 6 * 5, "what was turned down cost nothing"
        assert store.unknown_outcomes() == []


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


def test_a_result_that_says_stop_stops_further_batches_when_its_batch_is_stored(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"nothing left to spend.*2 answered"):
        go(tmp_path, says={"r2": Failure("quota", "nothing left to spend", stop=True)}, at_once=1)
    assert len(depot(tmp_path).sold()) == 3


def test_a_batch_of_nothing_but_invalid_requests_blames_the_teacher_and_no_row(tmp_path: Path) -> None:
    go(tmp_path, 1)
    bad = {f"r{i}": Failure("invalid", "no such model") for i in range(1, 30)}
    with pytest.raises(Unavailable, match=r"each of its 12 requests was refused"):
        go(tmp_path, 30, says=bad, size=12, at_once=1)
    assert len(answers(go(tmp_path, 30))) == 30


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


def test_a_batch_is_not_larger_than_its_provider_takes_and_a_row_that_is_fails_alone(tmp_path: Path) -> None:
    rows = [*prompts(5), prompt_from_row({"id": "huge", "user": "x" * 99})]
    labelled = label(rows, depot(tmp_path, room=25, size=50), tmp_path / "out")
    assert (labelled.counts.answered, labelled.counts.failed) == (5, 1)
    assert "99 bytes is larger than a batch may be (25)" in (tmp_path / "out" / "failed.jsonl").read_text()
    assert sorted(len(json.loads(p.read_text())) for p in (tmp_path / "depot").glob("*.json")) == [1, 2, 2]


def test_one_by_one_asks_first_what_is_in_no_batch_and_waits_only_for_what_its_rows_need(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        go(tmp_path, waits=False)
    with pytest.raises(Unavailable, match=r"not done yet \(0 of 6\).*2 answered.*6 pending"):
        go(tmp_path, batched=False, waits=False, looks=99)
    alone = label(prompts(3, first=100), depot(tmp_path, batched=False, looks=10**9), tmp_path / "out")
    assert alone.counts.answered == 3, "it did not wait for batches that hold none of its rows"


def test_calls_in_batches_cost_their_share_however_they_are_collected(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("- {model: m, input: 1000000, output: 1000000}\n")
    with pytest.raises(Unavailable):
        go(tmp_path, 6, priced="m", waits=False)  # nobody knows the price yet
    with pytest.raises(ConfigError, match="Leave max_cost out until they are collected"):
        go(tmp_path, 6, priced="m", settings=Labelling(prices=prices, max_cost=99.0))
    go(tmp_path, 6, priced="m", batched=False, settings=Labelling(prices=prices))
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        assert store.spent().cost == Decimal(6 * 5) / 2
    go(tmp_path, 7, priced="m", batched=False, settings=Labelling(prices=prices))
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        assert store.spent().cost == Decimal(6 * 5) / 2 + 10, (
            "one by one it costs all: no usage was told, so what was set aside"
        )


def test_a_signal_while_a_batch_is_filled_submits_nothing(tmp_path: Path) -> None:
    class Signalled(Depot):
        def measure(self, request: Any) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            return 1

    with pytest.raises(Interrupted):
        label(prompts(5), Signalled(folder=tmp_path / "depot"), tmp_path / "out")
    assert depot(tmp_path).sold() == []
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        assert (store.open_batches(), store.unknown_outcomes()) == ([], [])


def test_a_queue_that_is_closed_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    for closed in ([True], [False, True], [False, False, True], [False, False, False, True], [False] * 4 + [True]):
        with pytest.raises(Unavailable, match=r"the depot is closed.*The same command resumes"):
            go(tmp_path, closed=list(closed))
    assert len(answers(go(tmp_path))) == 8
    assert len(depot(tmp_path).sold()) == 8


def test_a_cap_counts_what_waits_in_batches_once(tmp_path: Path) -> None:
    capped = Labelling(max_tokens=60)
    with pytest.raises(Unavailable, match="not done yet"):
        go(tmp_path, count=20, waits=False, settings=capped)
    with pytest.raises(Unavailable, match=r"the next call might break the cap.*answered"):
        go(tmp_path, count=20, settings=capped)
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        spent = store.spent().tokens
    print(f"{spent} of 60 tokens spent, {spent // 5} rows of 20 answered")
    assert 50 < spent <= 60


def test_further_samples_and_attempts_go_into_further_batches(tmp_path: Path) -> None:
    labelled = go(tmp_path, count=4, settings=Labelling(samples=2))
    assert labelled.counts.answered == 4
    assert len(depot(tmp_path).sold()) == 8


def test_a_stop_leaves_at_once_while_a_batch_runs_and_says_what_is_with_the_provider(tmp_path: Path) -> None:
    """A teacher that never ends is stopped by its failing queue from another thread: nothing waits for the next look."""
    heard: list[Event] = []

    class Slow(Depot):
        def poll(self, batch: str) -> Any:
            threading.Timer(0.05, lambda: self.closed.append(True)).start()
            return super().poll(batch)

    began = time.monotonic()
    with pytest.raises(Unavailable, match="closed"):
        label(
            prompts(3),
            Slow(folder=tmp_path / "depot", looks=10**6),
            tmp_path / "out",
            progress=Progress("label", (heard.append,)),
        )
    assert time.monotonic() - began < 5
    assert any("with the provider: batch-" in event.message for event in heard)
    assert any("0 of 3 done" in event.message for event in heard)
