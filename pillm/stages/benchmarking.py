"""Benchmark a model file: open it with a runner, time it, keep the record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pillm.artifacts import Benchmark, BenchPlan, Checkpoint, ModelFile, to_json
from pillm.backends import Runner
from pillm.errors import BackendError
from pillm.files import write_json
from pillm.progress import Progress


def bench(
    model: ModelFile | Checkpoint,
    runner: Runner,
    *,
    plan: BenchPlan | None = None,
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> Benchmark:
    """Time a model with a runner, prefill and decode apart, and write the record as JSON where `out` names a file.

    Raises BackendError where the runner measured nothing.
    """
    progress = progress or Progress("bench")
    progress.start(None, message=f"{model.label} with runner {runner.name!r}")
    with runner.open(model) as session:
        measured = session.bench(plan or BenchPlan())
    if not (measured.pp_tps > 0 and measured.tg_tps > 0):
        speeds = f"{measured.pp_tps} and {measured.tg_tps} tokens/s"
        raise BackendError(f"runner {runner.name!r} measured {speeds} on {model.label}: that is no measurement.")
    record = replace(measured, at=measured.at or datetime.now(UTC).isoformat(timespec="seconds"))
    if out is not None:
        write_json(Path(out), to_json(record))
    progress.finish(str(record))
    return record
