"""A measurement that the machine disturbed is void."""

from __future__ import annotations

import pytest

from pillm.performance.sensors import Reading
from pillm.performance.verdict import void_reasons

QUIET = [100.0, 100.2, 99.9, 100.1, 100.0]


def readings(bits: tuple[int | None, ...] = (0, 0, 0, 0), clocks: tuple[float, ...] = (1800.0,) * 4) -> list[Reading]:
    return [
        Reading(time=float(at), throttled=bit, clocks_mhz=(clock,) * 4)
        for at, (bit, clock) in enumerate(zip(bits, clocks, strict=True))
    ]


def test_a_quiet_run_counts() -> None:
    assert void_reasons(readings(), QUIET, swapped=0) == ()
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


def test_a_clock_that_fell_makes_it_void_and_one_that_rose_when_work_began_does_not() -> None:
    fell = void_reasons(readings(clocks=(600.0, 1800.0, 1500.0, 600.0)), QUIET)
    assert fell == ("the clock fell from 1800 to 1500 MHz",)
    assert void_reasons(readings(clocks=(600.0, 1800.0, 1800.0, 600.0)), QUIET) == ()


def test_swapping_and_spread_make_it_void() -> None:
    assert void_reasons(readings(), QUIET, swapped=7) == ("7 pages were swapped meanwhile",)
    assert void_reasons((), [100.0, 104.0, 98.0]) == ("prefill is spread by 3.0%, more than 1.0%",)
    assert void_reasons((), [100.0, 104.0, 98.0], most=0.1) == ()
