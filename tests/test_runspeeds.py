"""A run's files are timed once, and every measurement stays in the run's history."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pillm.artifacts import BenchPlan, Checkpoint, ModelFile, Plan
from pillm.backends import Session
from pillm.performance.history import History
from pillm.runspeeds import Once, foretold, measured_once
from pillm.testing import TableRunner
from pillm.verification import verify

BUSY = 9.0
"""The spread that a machine may have on which tests run beside each other."""


def test_a_file_is_timed_again_only_where_something_changed(tmp_path: Path) -> None:
    path = tmp_path / "m.table"
    path.write_text("{}", "utf-8")
    model, runner, out = ModelFile.of(path, "F16"), TableRunner(), tmp_path / "run/bench"
    how = Once(plan=BenchPlan(pp=8, tg=4, max_spread=BUSY))
    first = measured_once(model, runner, out, how)
    assert measured_once(model, runner, out, replace(how, judged=True)) == first
    assert measured_once(model, runner, out, Once(plan=BenchPlan(pp=16, tg=4, max_spread=BUSY))).pp == 16
    assert [one.record.pp for one in History(out / "history.jsonl").read().measured()] == [8, 16]
    assert json.loads((out / "m/benchmark.json").read_text("utf-8"))["pp"] == 16
    assert verify(tmp_path / "run/bench/m") == []


class Shaken(TableRunner):
    """Times tables on a machine that is disturbed at first."""

    name = "shaken"
    spreads: ClassVar[list[float]] = []

    def open(self, model: ModelFile | Checkpoint) -> Session:
        """Open a table whose prefill is spread as the class says."""
        session = super().open(model)
        timed, spread = session.bench, self.spreads.pop(0)
        session.bench = lambda plan: replace(timed(plan), samples={"pp_tps": [100.0, 100.0 * (1 + spread)]})  # type: ignore[method-assign]
        return session


def test_a_void_record_is_measured_again_only_where_gates_are_judged_by_it(tmp_path: Path) -> None:
    path = tmp_path / "m.table"
    path.write_text("{}", "utf-8")
    model, runner, out = ModelFile.of(path, "F16"), Shaken(), tmp_path / "run/bench"
    how = Once(plan=BenchPlan(pp=8, tg=4), judged=True)
    Shaken.spreads[:] = [0.2, 0.2, 0.0]
    first = measured_once(model, runner, out, how)
    assert "prefill is spread by" in first.void[0]
    assert measured_once(model, runner, out, replace(how, judged=False)) == first
    assert measured_once(model, runner, out, how).void
    quiet = measured_once(model, runner, out, how)
    assert not quiet.void
    assert measured_once(model, runner, out, how) == quiet
    assert [bool(one.record.void) for one in History(out / "history.jsonl").read().measured()] == [True, True, False]
    assert verify(tmp_path / "run/bench/m") == []


def test_what_was_foretold_says_so() -> None:
    plan = Plan(model="m", device="pi4-4gb", quant="F16", fits=True, bytes=1, memory={}, tg_tps=8.0, pp_tps=40.0, context=512,
                verdict="Fits.")  # fmt: skip
    found = foretold(plan)
    assert (found.basis, found.tg_tps, found.pp_tps, found.device) == ("predicted", 8.0, 40.0, "pi4-4gb")
