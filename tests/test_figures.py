"""The figures that gates speak of: how often a plan times each, and what a record says of it."""

from __future__ import annotations

from typing import Any

import pytest

from pillm.artifacts import Benchmark, BenchPlan
from pillm.performance.benchmark import BenchWork
from pillm.performance.figures import FIGURES, ONCE, OPTIONS, share, times_planned, told
from pillm.performance.medians import Median, median
from pillm.performance.rounds import Rounds
from pillm.performance.timer import TimedReply, Timing
from pillm.records import Prompt
from tests.recorded import Steady


def record(**more: Any) -> Benchmark:
    facts: dict[str, Any] = {"model": "m", "device": "d", "basis": "measured", "pp_tps": 40.0, "tg_tps": 8.0}
    return Benchmark(**facts | more)


class Whole(Steady):
    """Does everything that can be asked for."""

    def reply(self, prompt: Prompt, *, constrained: bool, fresh: bool) -> TimedReply:
        return TimedReply(first_ms=5.0, gaps_ms=(1.0, 2.0, 3.0))

    def embed(self, texts: Any) -> Any:
        yield from ((1.0,) for _ in texts)

    def reload(self, *, cold: bool) -> float:
        return 9.0

    def time(self, work: BenchWork) -> Timing:
        return Steady.time(self, work)


ROWS = tuple(Prompt(id=str(n), messages=({"role": "user", "content": "a"},), schema={"type": "object"}) for n in range(3))


def test_every_time_that_can_take_a_gate_is_one_that_a_whole_measurement_has_as_often_as_its_plan_says() -> None:
    plan = BenchPlan(pp=8, tg=4, repetitions=4, prefix=True, loads=3, prompts=ROWS, texts=("a",) * 3, sustained=0.01)
    rounds = Rounds(Whole(), plan)
    rounds.run()
    found = rounds.record()
    assert found.times.keys() == OPTIONS.keys()
    for name in ("ttft_ms", "ttft_prefix_ms", "load_cold_ms", "load_warm_ms", "embed_ms", "answer_ttft_ms"):
        assert len(found.times[name].samples) == times_planned(name, plan), name
    assert ONCE not in FIGURES


@pytest.mark.parametrize("name", OPTIONS)
def test_what_needs_an_option_is_not_timed_without_it(name: str) -> None:
    assert bool(times_planned(name, BenchPlan())) == (not OPTIONS[name])


def test_a_figure_is_told_with_the_number_of_its_samples() -> None:
    assert told(record(samples={"tg_tps": [8.0, 8.2]}), "tg_tps") == (median([8.0, 8.2]), 2)
    assert told(record(), "ttft_ms") is None
    whole = record(
        peak_memory=5, energy={"joules_per_token": 2.0}, times={"inter_token_p95_ms": Median(value=9, low=9, high=9)}
    )
    for name, value in (("peak_memory", 5.0), ("joules_per_token", 2.0), ("inter_token_p95_ms", 9.0)):
        found = told(whole, name)
        assert found is not None
        assert (found[0].value, found[1]) == (value, 3)


def test_a_share_of_what_is_nothing_is_not_told() -> None:
    base = record(times={"ttft_ms": Median(value=0.0, low=0.0, high=0.0)})
    assert share(record(times={"ttft_ms": median([1.0] * 3)}), base, "ttft_ms") is None
    assert share(record(), base, "embed_ms") is None
