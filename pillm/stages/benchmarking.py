"""Benchmark a model file: look at the machine, open the file with a runner, time it, judge the figures, keep the record."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pillm.artifacts import Benchmark, BenchPlan, Checkpoint, ModelFile, to_json
from pillm.backends import Runner
from pillm.errors import DataError, PillmError
from pillm.files import write_json
from pillm.progress import Progress
from pillm.stages.measurement import Measurement, Measuring


def bench(
    model: ModelFile | Checkpoint | Path | str,
    runner: Runner,
    *,
    plan: BenchPlan | None = None,
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> Benchmark:
    """Time a model with a runner, prefill and decode apart, and write the record as JSON where `out` names a file.

    `model` may be the path of a model file or of a model folder. Raises DataError where there is neither, BackendError where
    the runner measured nothing, Unavailable where the plan is strict and the machine not fit.
    """
    how = Measuring(plan=plan or BenchPlan(), progress=progress or Progress("bench"))
    record, _ = measure(_named(model) if isinstance(model, Path | str) else model, runner, how)
    if out is not None:
        write_json(Path(out), to_json(record))
    return record


def _named(name: Path | str) -> ModelFile | Checkpoint:
    path = Path(name)
    if path.is_file():
        return ModelFile.of(path, "")
    if (path / "config.json").is_file():
        return Checkpoint(path=path)
    raise DataError(f"{path} is neither a model file nor a model folder (one has a config.json). Name one that is there.")


def measure(model: ModelFile | Checkpoint, runner: Runner, how: Measuring) -> tuple[Benchmark, int | None]:
    """Time a model and return the record, with its number where a history is kept; raises what `bench` raises.

    That it begins is written first; what was timed until it is interrupted or fails is written before the error goes on, and
    whether anything was timed at all. What can be seen to be wrong before is refused, and the history knows nothing of it.
    """
    _check(model, runner)
    how.progress.start(None, message=f"{model.label} with runner {runner.name!r}")
    task = Measurement(model, runner, how)
    began = how.history.append("started", {"about": task.about()}) if how.history else None
    try:
        record = task.done()
    except BaseException as error:
        if how.history:
            told = str(error) or type(error).__name__
            with suppress(PillmError):
                how.history.append("interrupted", {"of": began, "reason": told, "timed": task.timed, "samples": task.partial()})
        raise
    number = how.history.append("measured", {"of": began, "record": to_json(record)}) if how.history else None
    how.progress.finish(str(record))
    return record, number


def _check(model: ModelFile | Checkpoint, runner: Runner) -> None:
    """Raise what stands in the way of opening a model, as far as that is known without opening it."""
    if isinstance(model, ModelFile) and not model.path.is_file():
        raise DataError(f"{model.path} is not a file. Name a model file.")
    runner.check()
