"""The pace of answers, from what a llama-server says of its own time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pillm_llamacpp.boards.servertimes import Prefixed, pace, written

import pillm


def event(count: int, predicted_ms: float, prompt_ms: float = 50.0, cached: int = 0) -> dict[str, Any]:
    timings = {"predicted_n": count, "predicted_ms": predicted_ms, "prompt_ms": prompt_ms, "cache_n": cached}
    return {"content": "x", "timings": timings}


@dataclass
class Recorded:
    """A server whose events were recorded; a real one is timed in test_boardbench."""

    events: list[Any]
    status: int = 200
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def stream(self, target: str, body: Mapping[str, Any], *, timeout: float) -> Iterator[Any]:
        self.asked.append((target, body))
        yield from self.events

    def ask(self, target: str, body: Mapping[str, Any], *, timeout: float) -> tuple[int, Any]:
        self.asked.append((target, body))
        return self.status, {"timings": {"restore_ms": 1.5}}


def test_steps_lie_between_tokens_and_several_in_one_event_share_its_time() -> None:
    server = Recorded([event(1, 0.001), event(2, 10.0), event(5, 40.0), event(5, 40.0)])
    found = pace(server, {"prompt": [1]}, timeout=1.0)  # type: ignore[arg-type]
    assert found.first_ms == 50.0
    assert list(found.gaps_ms) == pytest.approx([9.999, 10.0, 10.0, 10.0])
    assert server.asked[0][1]["timings_per_token"] is True


@pytest.mark.parametrize("events", [[], [{"content": "x"}], [{"timings": {"prompt_ms": None}}], ["x"], [None]])
def test_a_server_that_tells_no_times_is_not_guessed_at(events: list[Any]) -> None:
    with pytest.raises(pillm.BackendError, match="llama-server"):
        written(Recorded(events), {"prompt": [1]}, timeout=1.0)  # type: ignore[arg-type]


def test_a_beginning_is_read_and_saved_once_and_then_put_back() -> None:
    server = Recorded([event(1, 0.0, prompt_ms=7.0, cached=8)])
    kept = Prefixed(server, 1.0)  # type: ignore[arg-type]
    work = pillm.BenchWork(kind="pp", tokens=2, depth=8)
    first, second = (kept.time(work, lambda count: list(range(count))) for _ in range(2))
    assert (first.restore_ms, second.restore_ms, second.first_ms) == (None, 1.5, 7.0)
    actions = [target for target, _ in server.asked if target.startswith("/slots")]
    assert actions == ["/slots/0?action=save", "/slots/0?action=erase", "/slots/0?action=restore"]


def test_a_beginning_that_was_not_taken_is_no_measurement() -> None:
    work = pillm.BenchWork(kind="pp", tokens=2, depth=8)
    with pytest.raises(pillm.BackendError, match="took 3 of 8 saved tokens"):
        Prefixed(Recorded([event(1, 0.0, cached=3)]), 1.0).time(work, lambda count: [0] * count)  # type: ignore[arg-type]
    with pytest.raises(pillm.BackendError, match="does not save a prompt"):
        Prefixed(Recorded([event(1, 0.0)], status=501), 1.0).time(work, lambda count: [0] * count)  # type: ignore[arg-type]
