"""A run's files are timed once, and every measurement stays in the run's history."""

from __future__ import annotations

import json
from pathlib import Path

from pillm.artifacts import BenchPlan, ModelFile, Plan
from pillm.performance.history import History
from pillm.progress import Progress
from pillm.runspeeds import foretold, measured_once
from pillm.testing import TableRunner
from pillm.verification import verify


def test_a_file_is_timed_again_only_where_something_changed(tmp_path: Path) -> None:
    path = tmp_path / "m.table"
    path.write_text("{}", "utf-8")
    model, runner, out = ModelFile.of(path, "F16"), TableRunner(), tmp_path / "run/bench"
    first = measured_once(model, runner, BenchPlan(pp=8, tg=4), out, Progress())
    assert measured_once(model, runner, BenchPlan(pp=8, tg=4), out, Progress()) == first
    assert measured_once(model, runner, BenchPlan(pp=16, tg=4), out, Progress()).pp == 16
    assert [one.record.pp for one in History(out / "history.jsonl").read().measured()] == [8, 16]
    assert json.loads((out / "m/benchmark.json").read_text("utf-8"))["pp"] == 16
    assert verify(tmp_path / "run/bench/m") == []


def test_what_was_foretold_says_so() -> None:
    plan = Plan(model="m", device="pi4-4gb", quant="F16", fits=True, bytes=1, memory={}, tg_tps=8.0, pp_tps=40.0, context=512,
                verdict="Fits.")  # fmt: skip
    found = foretold(plan)
    assert (found.basis, found.tg_tps, found.pp_tps, found.device) == ("predicted", 8.0, 40.0, "pi4-4gb")
