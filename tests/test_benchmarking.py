"""A benchmark is measured and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.artifacts import Benchmark, BenchPlan, Checkpoint, ModelFile
from pillm.backends import Session
from pillm.errors import BackendError
from pillm.stages.benchmarking import bench
from pillm.stages.exporting import export
from pillm.stages.training import train
from pillm.testing import TableExporter, TableRunner, TableSession, TableTrainer, sample_examples


def test_a_measurement_is_returned_and_written(tmp_path: Path) -> None:
    checkpoint = train(sample_examples(), TableTrainer(), tmp_path / "train")
    model = export(checkpoint, TableExporter(), tmp_path / "export")[0]
    record = bench(model, TableRunner(), plan=BenchPlan(pp=16, tg=4), out=tmp_path / "bench.json")
    written = json.loads((tmp_path / "bench.json").read_text())
    assert (written["pp"], written["tg"], written["basis"]) == (16, 4, "measured")
    assert written["pp_tps"] == record.pp_tps > 0
    assert record.at is not None
    assert "measured" in str(record)


def test_a_runner_that_measured_nothing_is_found_out(tmp_path: Path) -> None:
    class Idle(TableSession):
        def bench(self, plan: BenchPlan) -> Benchmark:
            return Benchmark(model="m", device="here", basis="measured", pp_tps=0.0, tg_tps=float("nan"))

    class IdleRunner(TableRunner):
        """Measures nothing."""

        name: ClassVar[str] = "idle"

        def open(self, model: ModelFile | Checkpoint) -> Session:
            return Idle({}, "m")

    with pytest.raises(BackendError, match=r"runner 'idle' measured"):
        bench(Checkpoint(path=tmp_path), IdleRunner())
