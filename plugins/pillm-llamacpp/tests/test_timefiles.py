"""Model files of random weights: they load, they have the sizes that were asked for, and plans of them hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pillm_llamacpp.measuring.timefiles import LARGE, SMALL, Shape, write_file

import pillm
from tests.benchmarks import plan_here

TINY = Shape(hidden=256, wide=512, layers=2, heads=4, kv_heads=2, vocabulary=512, context=256)


@pytest.mark.parametrize("type_", ["Q4_0", "Q8_0", "F16"])
def test_a_file_is_loaded_timed_and_has_the_bytes_of_its_shape(tmp_path: Path, type_: str) -> None:
    path = write_file(tmp_path / "x.gguf", TINY, type_)
    planned = pillm.plan(path, "generic-x86")
    assert (planned.quant, planned.bytes) == (type_, path.stat().st_size)
    with pillm.runner("local").open(pillm.ModelFile.of(path, type_)) as session:
        measured = session.bench(pillm.BenchPlan(pp=32, tg=8, repetitions=1))
    assert measured.pp_tps > 0
    assert measured.tg_tps > 0


def test_the_same_shape_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write_file(tmp_path / f"{name}.gguf", TINY, "Q4_0").read_bytes() for name in "ab")
    assert one == two


def test_a_head_of_its_own_is_a_tensor_more(tmp_path: Path) -> None:
    tied, untied = TINY, Shape(hidden=256, wide=512, layers=2, heads=4, kv_heads=2, vocabulary=512, tied=False)
    assert "output.weight" not in tied.matrices()
    assert "output.weight" in untied.matrices()


@pytest.mark.full
def test_the_runner_brings_several_sizes_and_types_to_time_a_machine_with(tmp_path: Path) -> None:
    files = pillm.runner("local").speed_files(tmp_path)
    sizes = {quant: [one.bytes // 10**6 for one in files if one.quant == quant] for quant in ("Q4_0", "Q8_0", "F16")}
    assert sizes == {"Q4_0": [1, 3, 28, 138], "Q8_0": [3, 6, 260], "F16": [5, 11, 100]}
    assert (SMALL.layers, LARGE.layers) == (16, 20)


@pytest.mark.full
@pytest.mark.parametrize("number", range(len(plan_here.FILES)))
def test_the_predicted_peak_of_memory_is_within_five_percent_of_the_measured_one(tmp_path: Path, number: int) -> None:
    predicted, measured = plan_here.memory(tmp_path / "x.gguf", *plan_here.FILES[number])
    assert predicted == pytest.approx(measured, rel=plan_here.MOST)


@pytest.mark.full
def test_this_machine_is_calibrated_and_another_file_is_predicted(tmp_path: Path) -> None:
    out, other = tmp_path / "here.yaml", Shape(hidden=768, wide=2304, layers=16, heads=12, kv_heads=4)
    command = [sys.executable, "-m", "pillm", "plan", "--calibrate", str(out), "--json"]
    assert json.loads(subprocess.run(command, check=True, capture_output=True).stdout) == {"profile": str(out)}
    path = write_file(tmp_path / "other.gguf", other, "Q5_0")
    planned = pillm.plan(path, out)
    with pillm.runner("local").open(pillm.ModelFile.of(path, "Q5_0")) as session:
        measured = session.bench(pillm.BenchPlan(pp=256, tg=32, repetitions=3))
    ratios = {"decode": measured.tg_tps / (planned.tg_tps or 1), "prefill": measured.pp_tps / (planned.pp_tps or 1)}
    print(f"measured over predicted, a file and a type that were not timed: {ratios}")
    assert all(ratio > 0 for ratio in ratios.values())
    assert planned.basis_note == ""
