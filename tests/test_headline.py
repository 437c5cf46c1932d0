"""The sentence that a report begins with."""

from __future__ import annotations

from typing import Any

import pytest

from pillm.report.headline import basis, gates_sentence, headline, headline_text, pick_speed, void_lines

PICK = {"model": "a.gguf", "quant": "Q4_0", "bytes": 1_300_000, "score": 0.93, "teacher": 0.97, "base": 0.1, "kept": 0.95876}


def bench(device: str, basis: str, speed: float, model: str = "a.gguf") -> dict[str, Any]:
    return {"model": model, "device": device, "basis": basis, "tg_tps": speed, "pp_tps": 1.0}


def report(**changed: Any) -> dict[str, Any]:
    return {
        "recipe": "quickstart",
        "pick": PICK,
        "sizes": {"teacher": 10_000_000},
        "benchmarks": [],
        "device": None,
        "gates": [],
        **changed,
    }


def test_it_says_size_score_and_speed() -> None:
    said = headline_text(report(benchmarks=[bench("pi4-4gb", "predicted", 713.2)], device="pi4-4gb"))
    assert said == (
        "Distilled into 1.30 MB, from 10.0 MB, with 95.9 % of the teacher’s score kept, "
        "at about 713 tokens per second on pi4-4gb (predicted)."
    )
    far = {**bench("pi4-4gb", "predicted", 713.2), "details": {"extrapolated": True}}
    assert headline_text(report(benchmarks=[far])).endswith(
        "at about 713 tokens per second on pi4-4gb (predicted, extrapolated)."
    )
    assert [piece for piece, strong in headline(report()) if strong] == ["1.30 MB", "95.9 %"]


def test_what_is_not_known_is_not_said() -> None:
    assert headline_text(report(sizes={}, pick={**PICK, "kept": None})) == "Distilled into 1.30 MB, scoring 0.930."
    assert headline_text(report(pick=None)) == "quickstart: nothing was scored."


def test_the_recipes_device_goes_first_and_measured_before_predicted() -> None:
    found = [
        bench("local", "measured", 800),
        bench("pi4", "predicted", 48),
        bench("pi4", "measured", 45),
        bench("pi4", "measured", 9, "b.gguf"),
    ]
    assert pick_speed(report(benchmarks=found, device="pi4")) == found[2]
    assert pick_speed(report(benchmarks=found[:2], device="pi4")) == found[1]
    assert pick_speed(report(benchmarks=found)) in (found[0], found[2])
    assert pick_speed(report(benchmarks=found[:1], device="pi4")) is None, "this machine does not speak for the Pi"
    assert pick_speed(report(benchmarks=[bench("pi4", "emulated", 3), found[1]], device="pi4")) == found[1]
    assert pick_speed(report(pick=None, benchmarks=found)) is None


@pytest.mark.parametrize(
    ("met", "said"),
    [
        ([], None),
        ([True], ("The gate was met", True)),
        ([True, True], ("All 2 gates met", True)),
        ([True, False], ("1 of 2 gates not met", False)),
        ([True, None], ("1 of 2 gates not judged: the machine was disturbed", None)),
        ([False, None], ("1 of 2 gates not met, 1 not judged", False)),
    ],
)
def test_gates_are_counted(met: list[bool | None], said: Any) -> None:
    assert gates_sentence(report(gates=[{"met": one} for one in met])) == said


def test_a_void_measurement_is_called_so_wherever_it_is_told() -> None:
    void = {**bench("here", "measured", 40), "void": ["7 pages were swapped meanwhile", "prefill is spread"]}
    found = report(benchmarks=[void, bench("pi4", "predicted", 9)])
    assert headline_text(found).endswith("at 40.0 tokens per second on here (a disturbed measurement).")
    assert [basis(one) for one in found["benchmarks"]] == ["measured, void", "predicted"]
    assert void_lines(found) == [
        "a.gguf on here: void, no gate is judged by it: 7 pages were swapped meanwhile; prefill is spread"
    ]
