"""Train a student with EasyDistill 1: write its job, run it, verify what it left, publish that."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_easydistill import child, installation, jobfiles, logits, student
from pillm_easydistill.jobfiles import JobFiles
from pillm_easydistill.launching import command, count_gpus
from pillm_easydistill.trainlog import TrainLog
from pillm_easydistill.verification import NoStudent, verify

if TYPE_CHECKING:
    from pillm_easydistill.options import EasyDistillOptions
    from pillm_easydistill.student import Base, Lesson

_ATTEMPT = ".easydistill-"
_KILLED = -9
_MEMORY = " Most often memory ran out: lower per_device_train_batch_size or max_length, or set gradient_checkpointing=true."


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training: what is learnt, from which base, in which folder, on how many GPUs."""

    options: EasyDistillOptions
    found: installation.Installation
    base: Base
    taught: Sequence[Lesson]
    files: JobFiles
    seed: int
    gpus: int
    progress: pillm.Progress

    @property
    def steps(self) -> int:
        """Return how many optimiser steps there should be."""
        options = self.options
        spread = 1 if options.launch == "direct" or options.white else max(1, self.gpus)
        batch = options.per_device_train_batch_size * options.gradient_accumulation_steps * spread
        return math.ceil(len(self.taught) / batch) * options.num_train_epochs


def train(options: EasyDistillOptions, data: pillm.TrainingData, out: Path, progress: pillm.Progress) -> None:
    """Write the trained student to `out`; see `pillm.Trainer.train` for what the folder holds."""
    found = installation.require(options.python, "v1")
    base = student.Base.open(options.base, options.revision)
    teacher = logits.open_teacher(options.teacher, base) if options.teacher else None
    taught, left_out = student.lessons(data, base.chat, options.max_length, progress)
    if len(data.validation):
        progress.note(f"EasyDistill 1 watches no validation rows; the {len(data.validation)} there are serve as probes only.")
    student.write_papers(taught, data, base.chat, out, progress)
    job = Job(
        options=options, found=found, base=base, taught=taught, files=_fresh(out), progress=progress,
        seed=data.seed if options.seed is None else options.seed, gpus=count_gpus(found.python),
    )  # fmt: skip
    _write(job, teacher)
    begun = time.monotonic()
    log = _run(job)
    seconds = round(time.monotonic() - begun, 3)
    _publish(job, out)
    _write_record(job, log, {"rows_left_out": left_out, "seconds": seconds}, out)
    _keep(job.files, out)


def _fresh(out: Path) -> JobFiles:
    """Return the files of a new attempt, in a folder of its own.

    Version 1 cannot resume, so what an attempt left is of no use, and a child that outlived its parent may write there still.
    """
    for left in out.glob(f"{_ATTEMPT}*"):
        shutil.rmtree(left, ignore_errors=True)
    return JobFiles(Path(tempfile.mkdtemp(prefix=_ATTEMPT, dir=out.resolve())))


def _write(job: Job, teacher: Path | None) -> None:
    """Write everything that EasyDistill reads."""
    options, files = job.options, job.files
    jobfiles.write_rows(job.taught, files, completion_only=options.completion_only_loss)
    jobfiles.stage_base(job.base, files)
    if teacher is not None:
        vocabulary = int(pillm.Checkpoint(path=job.base.folder).config["vocab_size"])
        logits.write_teacher(files.teacher, vocabulary)
        job.progress.note(f"the teacher reads {len(job.taught)} answers")
        lines = list(logits.lines_of(job.taught, teacher, top=options.top_logits_num, vocabulary=vocabulary))
        logits.write_logits(files.logits, lines, epochs=options.num_train_epochs, seed=job.seed)
    longest = max(len(lesson.row.ids) for lesson in job.taught)
    jobfiles.write_config(options, files, seed=job.seed, longest=longest, gpus=job.gpus)


def _run(job: Job) -> TrainLog:
    """Run EasyDistill; raise BackendError unless a trained student is there, whatever the exit code."""
    files, asked = job.files, command(job.options, job.found, job.files, job.gpus)
    log = TrainLog(job.progress, job.steps, job.options.num_train_epochs)
    job.progress.start(job.steps, "steps")
    environment = {**asked.environment, "HF_DATASETS_CACHE": str(files.folder / "cache")}
    code = child.run(asked.argv, folder=files.folder, log=files.log, environment=environment, on_line=log.read)
    try:
        verify(files.result, files.student)
    except NoStudent as error:
        cause = log.cause()
        raise pillm.BackendError(
            f"EasyDistill {child.why(code)}, and {error}; nothing was published."
            + (f" It said: {cause.rstrip('.')}." if cause else "")
            + f" Its whole output is in {files.log}."
            + (_MEMORY if code == _KILLED or "out of memory" in cause.lower() else "")
        ) from error
    if code:
        job.progress.warn(f"EasyDistill {child.why(code)}, but the student it left is whole and trained.")
    return log


def _publish(job: Job, out: Path) -> None:
    """Publish the trained weights under the base's own configuration: training changes weights and nothing else."""
    trained = job.files.folder / "trained"
    trained.mkdir()
    for path in job.files.result.glob("*.safetensors*"):
        (trained / path.name).symlink_to(path)
    shutil.copyfile(job.base.folder / "config.json", trained / "config.json")
    student.publish(trained, job.base, job.taught, job.options.save_dtype, out)


def _write_record(job: Job, log: TrainLog, facts: dict[str, Any], out: Path) -> None:
    """Write training.json: options, rows, tokens, seconds, and the loss log."""
    epochs = job.options.num_train_epochs
    value = {
        "options": job.options.options(),
        "base": job.base.identity,
        "seed": job.seed,
        "rows": len(job.taught),
        "steps": int(log.entries[-1]["step"]) if log.entries else None,
        "tokens": epochs * sum(len(lesson.row.ids) for lesson in job.taught),
        "answer_tokens": epochs * sum(lesson.row.end - lesson.row.start for lesson in job.taught),
        **facts,
        "log": log.entries,
    }
    (out / "training.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _keep(files: JobFiles, out: Path) -> None:
    """Keep the configuration and the log; the rest is large, or made again by the next attempt."""
    kept = out / "easydistill"
    kept.mkdir(exist_ok=True)
    for path in (files.config, files.log):
        shutil.copyfile(path, kept / path.name)
    shutil.rmtree(files.folder)
