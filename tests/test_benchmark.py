"""What is to be timed, and the record of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pillm.artifacts import Benchmark, BenchPlan, to_json
from pillm.errors import DataError
from pillm.performance.benchmark import BenchWork, Expected, Point, read_benchmark
from pillm.performance.medians import median
from pillm.performance.preflight import Conditions
from pillm.performance.sensors import Reading


def record(**more: Any) -> Benchmark:
    facts: dict[str, Any] = {"model": "m", "device": "d", "basis": "measured", "pp_tps": 40.0, "tg_tps": 8.0}
    return Benchmark(**facts | more)


def test_the_usual_plan_times_two_figures_and_the_wide_one_more() -> None:
    assert [one.name for one in BenchPlan().works()] == ["pp512", "tg128"]
    wide = BenchPlan(thread_counts=(2,)).wide()
    assert [one.name for one in wide.works()] == [
        "pp512", "tg128", "pp32", "pp128", "tg32", "pp512 t2", "tg128 t2",
        "pp512 @ d512", "tg128 @ d512", "pp512 @ d2048", "tg128 @ d2048",
    ]  # fmt: skip
    assert (wide.loads, wide.prefix) == (3, True)


def test_a_whole_record_survives_its_file() -> None:
    whole = record(
        points=(Point.of(BenchWork(kind="tg", tokens=128, depth=512), [7.0, 7.2]),), times={"ttft_ms": median([5.0])},
        conditions=Conditions(machine="here", load=0.1, before=Reading(time=1.0, clocks_mhz=(1.0,)), missing={"power": "none"}),
        readings=(Reading(time=2.0, throttled=5),), void=("hot",), not_measured={"prefix": "none"}, memory={"peak": 5},
        expected=Expected(device="pi4-4gb", tg_tps=9.0), samples={"tg_tps": [8.0]}, energy={"idle_w": 2.5},
    )  # fmt: skip
    assert read_benchmark(json.dumps(to_json(whole)), "here") == whole


def test_a_record_of_an_older_pillm_is_read() -> None:
    old = {"model": "m", "device": "d", "basis": "measured", "pp_tps": 40.0, "tg_tps": 8.0, "samples": {"pp_tps": [40.0]}}
    assert read_benchmark(json.dumps(old), "old.json").points == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "not a benchmark record"),
        ('{"speed": 1}', "not a benchmark record"),
        (json.dumps({**to_json(record()), "pp_tps": "x"}), "pp_tps"),
        (json.dumps({**to_json(record()), "tg_tps": 0}), "holds no speed"),
        (json.dumps({**to_json(record()), "version": 9}), "version 9"),
    ],
)
def test_what_is_no_record_is_refused(text: str, reason: str) -> None:
    with pytest.raises(DataError, match=rf"x\.json.*{reason}"):
        read_benchmark(text, "x.json")


def test_samples_are_found_by_figure_and_by_point() -> None:
    found = record(samples={"tg_tps": [8.0, 8.1]}, points=(Point.of(BenchWork(kind="pp", tokens=32), [30.0, 31.0]),))
    assert found.speeds("tg_tps") == (8.0, 8.1)
    assert found.speeds("pp32") == (30.0, 31.0)
    assert found.speeds("pp_tps") == (40.0,)
    assert found.speeds("tg32") == ()
    assert record(conditions=Conditions(model="Pi")).board == "Pi"
    assert record().board is None


def test_lengths_are_clipped_to_what_a_model_sees() -> None:
    plan = BenchPlan(pp=1000, tg=128)
    assert [(one.pp, one.tg) for one in (plan.clipped(1024), plan.clipped(64), plan.clipped(None))] == [
        (896, 128), (32, 32), (1000, 128),
    ]  # fmt: skip


@pytest.mark.parametrize("bad", ["Infinity", "NaN", "1e400", "-Infinity", "1" + "0" * 400])
@pytest.mark.parametrize("name", ["pp_tps", "load_ms"])
def test_a_number_that_is_not_finite_is_no_record(bad: str, name: str) -> None:
    facts = {"model": "m", "device": "d", "basis": "measured", "pp_tps": 1.5, "tg_tps": 1.0, "load_ms": 7.25}
    text = json.dumps(facts).replace(f'"{name}": {facts[name]}', f'"{name}": {bad}')
    assert bad in text
    with pytest.raises(DataError, match=r"it\.json (is not a benchmark record|holds no speed)"):
        read_benchmark(text, "it.json")


@pytest.mark.parametrize("samples", [{"pp_tps": [0.0, 0.0, 0.0]}, {"tg_tps": [1.0, -1.0]}])
def test_a_speed_of_nothing_is_no_record(samples: dict[str, list[float]]) -> None:
    with pytest.raises(DataError, match="holds no speed to compare with"):
        read_benchmark(json.dumps(to_json(record(samples=samples))), "it.json")
