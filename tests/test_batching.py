"""Asking through a provider's batch queue: what was submitted is found again, collected once, and never bought twice."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pillm.answers import AnswerStore
from pillm.errors import ConfigError, Interrupted, Unavailable
from pillm.progress import Event, Progress
from pillm.records import Failure
from pillm.rows import prompt_from_row
from pillm.stages.labelling import STORE, Labelling, forecast, label
from pillm.verification import verify
from tests.depot import Depot, answers, depot, go, prompts


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
