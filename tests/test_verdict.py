"""A measurement that the machine disturbed is void."""

from __future__ import annotations

import pytest

from pillm.performance.sensors import Reading
from pillm.performance.verdict import disturbances, void_reasons

QUIET = [100.0, 100.2, 99.9, 100.1, 100.0]


def readings(bits: tuple[int | None, ...] = (0, 0, 0, 0), clocks: tuple[float, ...] = (1800.0,) * 4) -> list[Reading]:
    return [
        Reading(time=float(at), throttled=bit, clocks_mhz=(clock,) * 4)
        for at, (bit, clock) in enumerate(zip(bits, clocks, strict=True))
    ]


def test_a_quiet_run_counts() -> None:
    assert void_reasons(readings(), QUIET) == ()
    assert void_reasons((), QUIET) == ()
    assert void_reasons((), [100.0]) == (), "one sample has no spread"


@pytest.mark.parametrize(
    ("bits", "reason"),
    [
        ((0, 0, 0x80008, 0x80008), "the throttle bits changed from 0x0 to 0x80008: soft temperature limit"),
        ((0, 0x50005, 0x50000, 0x50000), "the throttle bits changed from 0x0 to 0x50000: under-voltage, throttled"),
        ((0x50005, 0x50005, 0x50000, 0x50000), "the throttle bits changed from 0x50005 to 0x50000: they were cleared"),
        ((0x50005,) * 4, "held back throughout: under-voltage, throttled"),
    ],
)
def test_throttling_makes_it_void(bits: tuple[int, ...], reason: str) -> None:
    assert void_reasons(readings(bits), QUIET) == (reason,)


def test_bits_that_stood_since_boot_make_it_not_void() -> None:
    assert void_reasons(readings((0x50000,) * 4), QUIET) == ()


def clocked(*pairs: tuple[str, float]) -> list[Reading]:
    return [Reading(time=float(at), clocks_mhz=(clock, 600.0), phase=phase) for at, (phase, clock) in enumerate(pairs)]


def test_a_clock_that_fell_under_load_makes_it_void_and_says_in_which_phase() -> None:
    fell = clocked(("idle", 600.0), ("pp", 1800.0), ("tg", 1500.0), ("between", 600.0))
    assert void_reasons(fell, QUIET) == ("the clock fell from 1800 to 1500 MHz in tg",)


def test_a_machine_that_idles_slowly_and_a_clock_that_rises_make_it_not_void() -> None:
    idle = [("idle", 1500.0)] * 3
    assert void_reasons(clocked(*idle, ("pp", 2400.0), ("tg", 2400.0), ("between", 1500.0)), QUIET) == ()
    assert void_reasons(clocked(("idle", 2400.0), ("pp", 1500.0), ("pp", 2000.0), ("tg", 2400.0)), QUIET) == ()
    assert void_reasons(clocked(("untold", 2400.0), ("untold", 1500.0)), QUIET) == ()


def test_throttling_says_its_phase_too() -> None:
    seen = [Reading(time=0.0, throttled=0, phase="idle"), Reading(time=1.0, throttled=0x20002, phase="tg")]
    assert disturbances(seen) == ("the throttle bits changed from 0x0 to 0x20002 in tg: frequency capped",)


def test_swapping_and_spread_make_it_void() -> None:
    swapping = [Reading(time=float(at), swapped=pages) for at, pages in enumerate((40, 40, 47))]
    assert void_reasons(swapping, QUIET) == ("7 pages were swapped meanwhile",)
    assert void_reasons((), [100.0, 104.0, 98.0]) == ("prefill is spread by 3.0%, more than 1.0%",)
    assert void_reasons((), [100.0, 104.0, 98.0], most=0.1) == ()


def test_decode_may_be_spread_five_times_as_far_as_prefill_and_no_further() -> None:
    assert void_reasons((), QUIET, [8.0, 8.4, 8.0]) == (), "2.8 %"
    assert void_reasons((), QUIET, [2075.0, 4917.0, 4740.0]) == ("decode is spread by 40.7%, more than 5.0%",)
    assert void_reasons((), QUIET, [2075.0, 4917.0, 4740.0], most=0.1) == ()
    assert void_reasons((), [100.0, 104.0, 98.0], [8.0, 9.0]) == (
        "prefill is spread by 3.0%, more than 1.0%", "decode is spread by 8.3%, more than 5.0%",
    )  # fmt: skip
