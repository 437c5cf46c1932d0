"""Gates hold every shipped file to a figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pillm.artifacts import Benchmark, Evaluation, Figure, ModelFile
from pillm.errors import ConfigError
from pillm.gates import Facts, check_gates, parse_gates


def evaluation(subject: str, kind: str, mean: float, quant: str | None = None) -> Evaluation:
    figure = Figure(mean=mean, low=mean, high=mean, rows=10)
    return Evaluation(subject=subject, kind=kind, set="test", rows=10, metrics={"exact": figure}, quant=quant)  # type: ignore[arg-type]


def facts(student: float = 0.8, size: int = 1000, speed: float = 9.0) -> Facts:
    model = ModelFile(path=Path("s-Q8_0.gguf"), quant="Q8_0", bytes=size, sha256="0")
    evaluations = [
        evaluation("nano", "teacher", 0.9),
        evaluation("raw", "base", 0.1),
        evaluation("s-F16.gguf", "model", 0.81, "F16"),
        evaluation("s-Q8_0.gguf", "model", student, "Q8_0"),
    ]
    speeds = Benchmark(model="s-Q8_0.gguf", device="here", basis="measured", pp_tps=50, tg_tps=speed)
    return Facts(models=[model], evaluations=evaluations, benchmarks=[speeds], plans={})


@pytest.mark.parametrize(
    ("gate", "met"),
    [
        ({"exact": 0.8}, True),
        ({"exact": 0.81}, False),
        ({"exact": "0.85 of teacher"}, True),
        ({"exact": "0.95 of teacher"}, False),
        ({"exact": "0.3 above base"}, True),
        ({"exact": "0.02 below F16"}, True),
        ({"exact": ["0.85 of teacher", "0.005 below F16"]}, False),
        ({"tg_tps": 8}, True),
        ({"tg_tps": 10}, False),
        ({"bytes": 999}, False),
        ({"bytes": "1e3"}, True),
    ],
)
def test_a_gate_is_met_or_not(gate: dict[str, object], met: bool) -> None:
    assert all(result.met for result in check_gates(parse_gates(gate), facts())) is met


@pytest.mark.parametrize("demand", ["good", "0.9 of", "of teacher", True, None, "0.9 near teacher"])
def test_a_form_that_is_not_understood_is_refused(demand: object) -> None:
    with pytest.raises(ConfigError, match="is not understood"):
        parse_gates({"exact": demand})


@pytest.mark.parametrize(
    ("gate", "changed", "reason"),
    [
        ({"exact": "0.9 of Q4_0"}, {}, "there is no subject 'Q4_0'; scored: F16, Q8_0, base, model, teacher."),
        ({"json": 0.9}, {}, "metric 'json' applied to no held-out row of s-Q8_0.gguf; scored: exact."),
        ({"exact": 0.5}, {"evaluations": []}, "no held-out rows were scored."),
        ({"tg_tps": 0.0}, {"benchmarks": []}, "its speed was not measured."),
    ],
)
def test_a_gate_that_cannot_be_checked_is_not_met_and_says_why(
    gate: dict[str, object], changed: dict[str, list[Benchmark]], reason: str
) -> None:
    result = check_gates(parse_gates(gate), replace(facts(), **changed))[0]  # type: ignore[arg-type]
    assert (result.met, result.reason) == (False, reason)
    assert None in (result.value, result.bound)
    assert result.sentence.endswith(f"cannot be checked: {reason}")


def test_a_result_says_the_gate_the_file_and_both_figures() -> None:
    result = check_gates(parse_gates({"exact": "0.95 of teacher"}), facts())[0]
    assert (result.gate, result.model) == ("exact >= 0.95 of teacher", "s-Q8_0.gguf")
    assert (result.value, round(result.bound, 3)) == (0.8, 0.855)
