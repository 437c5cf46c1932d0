"""What a session that can be timed piece by piece offers of itself."""

from __future__ import annotations

import pytest

import pillm
from pillm.errors import BackendError
from pillm.performance.timer import Hosted, Timer, Timing, speeds
from tests.recorded import Steady


def test_a_timer_benches_by_itself() -> None:
    found = Steady().bench(pillm.BenchPlan(pp=64, tg=16, repetitions=3))
    assert (found.model, found.device, found.threads) == ("m.gguf", "board", 4)
    assert (found.pp_tps, found.tg_tps) == (pytest.approx(10_000), pytest.approx(1000))


class Bare(Steady):
    """A timer that adds nothing to what every timer must have."""

    reply, embed = Timer.reply, Timer.embed


def test_a_timer_that_does_not_say_how_it_times_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Timer()  # type: ignore[abstract]


def test_what_a_timer_cannot_do_is_said() -> None:
    prompt = pillm.Prompt(id="a", messages=({"role": "user", "content": "b"},))
    with pytest.raises(BackendError, match="does not say when its tokens come"):
        Bare().reply(prompt, constrained=False, fresh=True)
    with pytest.raises(BackendError, match="cannot embed"):
        list(Bare().embed(["a"]))
    with pytest.raises(BackendError, match="does not open the model anew"):
        Bare().reload(cold=True)
    assert Hosted().machine() is None


def test_a_piece_of_work_can_be_repeated() -> None:
    timer = Steady()
    found = timer.repeat(pillm.BenchWork(kind="tg", tokens=4), 3)
    assert [one.tokens for one in found] == [4, 4, 4]
    assert not timer.in_blocks


def test_speeds_are_tokens_over_seconds() -> None:
    assert speeds([Timing(tokens=10, seconds=2.0), Timing(tokens=1, seconds=0.0)]) == [5.0]
