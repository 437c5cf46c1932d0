"""What plans say of gates: met, in doubt, or out of reach before anything is spent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pillm
from pillm.gates import parse_gates
from pillm.plans import Plan
from pillm.prospects import Prospect, prospects
from tests.benchmarks.planning.rows import MODELS

PLAN = Plan(
    model="s", device="pi4-4gb", quant="Q8_0", fits=True, bytes=1_000_000_000, memory={}, context=1024, verdict="Fits.",
    tg_tps=10.0, pp_tps=50.0, tg_interval=(9.0, 11.0), pp_interval=(45.0, 55.0),
)  # fmt: skip
FAR = replace(PLAN, tg_interval=None, pp_interval=None, basis_note="extrapolated: fitted on larger files")


def weigh(section: dict[str, Any], plan: Plan = PLAN, *, measured: bool = False) -> Prospect:
    (found,) = prospects(parse_gates(section), [plan], measured=measured)
    return found


@pytest.mark.parametrize(
    ("section", "fate"),
    [
        ({"tg_tps": 10}, "met"),
        ({"tg_tps": 10.5}, "doubtful"),
        ({"tg_tps": 11.5}, "missed"),
        ({"pp_tps": 54}, "doubtful"),
        ({"pp_tps": 56}, "missed"),
        ({"bytes": 1e9}, "met"),
        ({"bytes": 0.97e9}, "doubtful"),
        ({"bytes": 0.9e9}, "missed"),
    ],
)
def test_a_gate_is_held_against_the_prediction_and_its_optimistic_end(section: dict[str, Any], fate: str) -> None:
    assert weigh(section).fate == fate


@pytest.mark.parametrize(("measured", "fate"), [(False, "missed"), (True, "doubtful")])
def test_an_extrapolated_speed_is_final_only_where_nothing_will_measure_it(measured: bool, fate: str) -> None:
    found = weigh({"tg_tps": 100000}, FAR, measured=measured)
    assert found.fate == fate
    assert found.sentence.startswith("tg_tps >= 100000: Q8_0 would write about 10 tokens per second on pi4-4gb (predicted, ")
    assert "extrapolated" in found.sentence


@pytest.mark.parametrize(("measured", "fate"), [(False, "missed"), (True, "unknown")])
def test_a_speed_that_nobody_knows_meets_no_gate_unless_it_will_be_measured(measured: bool, fate: str) -> None:
    unknown = replace(PLAN, tg_tps=None, tg_interval=None, unknown="nobody measured IQ1_S on this device")
    found = weigh({"tg_tps": 1}, unknown, measured=measured)
    assert (found.fate, found.expected) == (fate, None)
    assert "nobody measured IQ1_S on this device" in found.sentence


def test_gates_on_quality_are_left_to_the_run() -> None:
    assert prospects(parse_gates({"exact": "0.9 of teacher"}), [PLAN], measured=False) == ()


def test_every_file_is_weighed_by_every_gate() -> None:
    plans = pillm.plan_table(MODELS["Llama-3.2-1B"] | {"name": "Llama"}, "pi4-4gb")
    found = prospects(parse_gates({"tg_tps": 4, "bytes": 1e9}), plans, measured=False)
    assert len(found) == 2 * len(plans)
    by_quant = {one.quant: one.fate for one in found if one.gate.startswith("tg_tps")}
    assert (by_quant["F16"], by_quant["Q4_0"]) == ("missed", "met")


@given(speed=st.floats(0.1, 1e4), bound=st.floats(0.1, 1e6), share=st.floats(0.001, 0.5), measured=st.booleans())
def test_nothing_is_called_out_of_reach_that_its_interval_holds(
    speed: float, bound: float, share: float, measured: bool
) -> None:
    span = (speed / (1 + share), speed * (1 + share))
    found = weigh({"tg_tps": bound}, replace(PLAN, tg_tps=speed, tg_interval=span), measured=measured)
    assert (found.fate == "missed") is (bound > span[1])
    assert (found.fate == "met") is (speed >= bound)
