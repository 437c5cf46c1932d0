"""A provider's batch queue that fails, forgets or sells half: nothing is bought twice, and nobody else waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from pillm.answers import AnswerStore
from pillm.batches import BatchStatus
from pillm.errors import Unavailable
from pillm.progress import Event, Progress
from pillm.records import Failure
from pillm.stages.labelling import STORE, Labelling, label
from tests.depot import Depot, answers, depot, go, lose, prompts


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
