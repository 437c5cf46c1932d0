"""A measurement says how much of the prediction it reached, and why not all of it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from pillm.artifacts import Benchmark
from pillm.performance.benchmark import Expected
from pillm.performance.expectation import against
from pillm.performance.preflight import Conditions
from pillm.performance.sensors import Reading

FORETOLD = Expected(device="pi4-4gb", pp_tps=40.0, tg_tps=10.0)


def record(**more: Any) -> Benchmark:
    facts: dict[str, Any] = {"model": "m", "device": "d", "basis": "measured", "pp_tps": 40.0, "tg_tps": 8.2}
    return Benchmark(**facts | more)


def test_what_was_foretold_needs_no_reason() -> None:
    found = against(record(tg_tps=9.8), FORETOLD)
    assert (found.tg_ratio, found.pp_ratio, found.sentence) == (0.98, 1.0, "decode 98% of predicted, prefill 100% of predicted")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "the machine tells no reason"),
        ({"void": ("7 pages were swapped meanwhile",)}, "7 pages were swapped meanwhile"),
        ({"readings": (Reading(time=1, throttled=0x50000),)}, r"held back since it was started \(under-voltage, throttled\)"),
        ({"readings": (Reading(time=1, clocks_mhz=(1500.0,)),), "conditions": Conditions(max_mhz=1800.0)},
         "its clock stayed at 1500 of 1800 MHz"),
        ({"conditions": Conditions(governor="powersave")}, "its governor is powersave"),
        ({"conditions": Conditions(load=1.9)}, r"a load of 1\.90 before it began"),
        ({"readings": (Reading(time=1, temperature_c=79.6),)}, "80 °C before it began"),
    ],
)  # fmt: skip
def test_what_is_slower_says_why(more: dict[str, Any], why: str) -> None:
    found = against(record(**more), FORETOLD)
    assert found.tg_ratio == 0.82
    assert found.sentence.startswith("decode 82% of predicted")
    assert re.search(rf": {why}$", found.sentence), found.sentence


def test_another_machine_than_was_foretold_for_reaches_no_share() -> None:
    found = against(record(), replace(FORETOLD, elsewhere="this machine is Xeon, x86_64, not Raspberry Pi 4, 4 GB"))
    assert (found.tg_ratio, found.pp_ratio) == (None, None)
    assert "%" not in found.sentence
    assert "the prediction is not for this machine (this machine is Xeon" in found.sentence


def test_other_lengths_or_threads_than_were_foretold_for_reach_no_share() -> None:
    lengths = replace(FORETOLD, pp=512, tg=128, pp_threads=4, tg_threads=4)
    assert against(record(threads=4), lengths).tg_ratio == 0.82
    longer = against(record(pp=64, threads=4), lengths)
    assert (longer.pp_ratio, longer.tg_ratio) == (None, 0.82)
    fewer = against(record(threads=2), lengths)
    assert (fewer.pp_ratio, fewer.tg_ratio) == (None, None)
    assert fewer.sentence == "the prediction is for 4 threads, not 2, so no share of it was reached or missed"


def test_an_uncalibrated_device_foretells_nothing() -> None:
    for foretold in (Expected(device="x86"), Expected(device="x86", pp=64, tg=16, pp_threads=2, tg_threads=2)):
        assert against(record(threads=1), foretold).sentence == "the planner foretells no speed for x86"
