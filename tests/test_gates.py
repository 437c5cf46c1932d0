"""Gates hold every shipped file to a figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pillm.artifacts import Basis, Benchmark, Evaluation, Figure, ModelFile, Plan
from pillm.errors import ConfigError
from pillm.gates import Facts, check_gates, figure_text, needs_speed, parse_gates


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
    return Facts(models=[model], evaluations=evaluations, benchmarks=[bench("here", speed)], plans={})


def bench(device: str, speed: float, basis: Basis = "measured") -> Benchmark:
    return Benchmark(model="s-Q8_0.gguf", device=device, basis=basis, pp_tps=50, tg_tps=speed)


def predicted(pp: float | None, tg: float | None) -> dict[str, Plan]:
    return {
        "s-Q8_0.gguf": Plan(
            model="s-Q8_0.gguf", device="pi4", quant="Q8_0", fits=True, bytes=1, memory={}, tg_tps=tg, pp_tps=pp, context=1,
            verdict="fits",
        )
    }  # fmt: skip


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


@pytest.mark.parametrize(
    ("benchmarks", "plan", "value"),
    [
        ([bench("here", 9000)], 9.0, 9.0),
        ([bench("pi4", 4), bench("pi4", 9, "predicted")], 9.0, 4.0),
        ([bench("here", 9000), bench("pi4", 4)], None, 4.0),
        ([bench("here", 9000), bench("pi4", 7000, "emulated")], None, None),
        ([], None, None),
    ],
)
def test_a_speed_is_the_devices_measured_before_predicted_and_never_another_machines(
    benchmarks: list[Benchmark], plan: float | None, value: float | None
) -> None:
    there = replace(facts(), device="pi4", benchmarks=benchmarks, plans=predicted(None, plan))
    result = check_gates(parse_gates({"tg_tps": 1}), there)[0]
    assert (result.value, result.met) == (value, value is not None)


def test_each_speed_is_looked_up_by_itself_and_a_missing_one_says_where_it_is_missing() -> None:
    there = replace(facts(speed=9000), device="pi4", plans=predicted(None, 9.0))
    prefill, decode = check_gates(parse_gates({"pp_tps": 50, "tg_tps": 8}), there)
    assert (prefill.met, prefill.value) == (False, None)
    assert prefill.reason == "its pp_tps on pi4 was neither measured nor predicted. A bench_runner that runs there measures it."
    assert (decode.met, decode.value) == (True, 9.0)


def test_a_teacher_of_the_same_name_does_not_answer_for_a_file() -> None:
    named = facts(student=0.1)
    teacher = evaluation("s-Q8_0.gguf", "teacher", 0.9)
    result = check_gates(parse_gates({"exact": 0.8}), replace(named, evaluations=[teacher, *named.evaluations]))[0]
    assert (result.met, result.value) == (False, 0.1)


def test_a_result_says_the_gate_the_file_and_both_figures() -> None:
    result = check_gates(parse_gates({"exact": "0.95 of teacher"}), facts())[0]
    assert (result.gate, result.model) == ("exact >= 0.95 of teacher", "s-Q8_0.gguf")
    assert (result.value, round(result.bound, 3)) == (0.8, 0.855)


def test_a_void_measurement_neither_meets_nor_misses_a_gate_whatever_it_says() -> None:
    void = ("the clock fell from 1800 to 600 MHz", "prefill is spread by 3.1 %, more than 1.0 %")
    for speed in (1.0, 99.0):
        known = replace(facts(), benchmarks=[replace(bench("here", speed), void=void)])
        (result,) = check_gates(parse_gates({"tg_tps": 8}), known)
        assert (result.met, result.value, result.bound) == (None, None, None)
        assert result.sentence == (
            "s-Q8_0.gguf: tg_tps >= 8 was not judged: its measurement is void (the clock fell from 1800 to 600 MHz; "
            "prefill is spread by 3.1 %, more than 1.0 %)."
        )
        assert [one.met for one in check_gates(parse_gates({"exact": 0.5, "bytes": 1000}), known)] == [True, True]


def test_a_prediction_does_not_stand_in_for_the_devices_void_measurement_nor_is_another_machines_void_its_own() -> None:
    void = replace(bench("pi4", 1.0), void=("held back throughout: throttled",))
    on_pi = replace(facts(), benchmarks=[void], plans=predicted(50.0, 9.0), device="pi4")
    assert [one.met for one in check_gates(parse_gates({"tg_tps": 8}), on_pi)] == [None]
    here = replace(on_pi, benchmarks=[replace(void, device="here")])
    assert [one.met for one in check_gates(parse_gates({"tg_tps": 8}), here)] == [True]


def test_sizes_and_large_figures_are_told_as_people_read_them() -> None:
    small = check_gates(parse_gates({"bytes": 1e8}), facts())[0]
    assert small.gate == "bytes <= 100000000"
    assert small.sentence.endswith("needed 100 MB")
    fast = check_gates(parse_gates({"tg_tps": 100000}), facts())[0]
    assert fast.gate == "tg_tps >= 100000"
    assert fast.sentence.endswith("needed 100000")
    assert figure_text("exact >= 0.9", None) == "-"


def test_a_gate_on_a_speed_needs_one() -> None:
    assert needs_speed(parse_gates({"exact": 0.5, "pp_tps": 8}))
    assert not needs_speed(parse_gates({"exact": 0.5, "bytes": 8}))
