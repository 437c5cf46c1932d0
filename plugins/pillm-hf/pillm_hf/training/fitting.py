"""Fit a student to encoded rows, in one process or as one of several; what was learnt is left on disk, whole."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.distilling import preparing
from pillm_hf.distilling.footprint import teacher_bytes
from pillm_hf.models.hub import Source
from pillm_hf.models.memory import told
from pillm_hf.options.finetuning import FineTuning
from pillm_hf.options.lora import LoRAOptions
from pillm_hf.rounding.finish import Finish
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.text import Encoding
from pillm_hf.training import outputs, planning, students
from pillm_hf.training.alternatives import Alternatives
from pillm_hf.training.checkpoints import FOLDER, Checkpoints
from pillm_hf.training.loop import Loop
from pillm_hf.training.processes import ALONE, Processes
from pillm_hf.training.trainlog import Log
from pillm_hf.training.validating import warn_of_idle

if TYPE_CHECKING:
    import torch

UNROUNDED = "trained-float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is fitted to what, and where."""

    options: FineTuning
    source: Source
    """The base as it was named; `folder` is what is begun with, which may be smaller."""
    folder: Path
    chat: Chat
    train: Encoding
    validation: Encoding
    seed: int
    out: Path
    facts: dict[str, Any]
    """What was said of the beginning."""
    data: pillm.TrainingData | None = None
    """What the rows came from, for what is distilled; None in one of several processes."""


def fit(work: Work, progress: pillm.Progress, processes: Processes = ALONE) -> tuple[Log, dict[str, Any]]:
    """Train, and write the adapter or all weights as they were trained; return the log and what was trained on what."""
    import torch

    options, rows = work.options, work.train.rows
    warn_of_idle(options, work.validation.rows, progress.warn)
    with torch.random.fork_rng():
        planned = students.computed_dtype(options, lambda _: None)
        beside = teacher_bytes(options, work.data.teacher if work.data else None, planned) or 0
        checkpointing = processes.told(_checkpointing(work, planned, beside, progress))
        others = Alternatives(options, work.folder, rows, planned, beside)
        course = _course(work)
        if course is not None:
            preparing.make_ahead(course, work.folder, planned, work.out)
        torch.manual_seed(work.seed)  # here: what is planned above draws numbers too, or is remembered and draws none
        model, dtype = students.build(options, work.folder, progress.warn)
        facts = _facts(model, dtype, work)
        taught = preparing.prepare(course, model, dtype, work.out, progress) if course else preparing.Taught()
        facts |= taught.facts
        processes.require_same(_recipe(work, facts | {"device": ""}))
        checkpoints = Checkpoints(work.out / FOLDER, _recipe(work, facts), progress.warn)
        processes.prepare(model)
        loop = Loop(model, options, dtype, work.chat.pad_id, progress, processes)
        loop.checkpointing, loop.teaching = checkpointing, taught.teaching
        if options.quantization_aware:
            loop.finish = Finish(model, options.quantization_aware, dtype, students.stored_dtype(options, work.folder))
        with taught, told(lambda: others.ran_out(checkpointing=checkpointing)):
            log = loop.fit(rows, work.validation.rows, work.seed, checkpoints)
    weights = processes.weights(loop.optimizer)
    if processes.writes:
        if isinstance(options, LoRAOptions):
            outputs.save_adapter(model, work.source, options, work.out, weights)
        else:
            outputs.save_student(model, work.chat, work.out / UNROUNDED, weights)
    return log, facts | ({"quantization_aware": loop.finish.facts()} if loop.finish else {})


def _course(work: Work) -> preparing.Course | None:
    """Return what teaches the student beside its labels, if anything does."""
    if work.options.distill is None or work.data is None:  # several processes learn labels alone, as the options require
        return None
    return preparing.Course(work.options, work.data, work.chat, work.train.rows, work.seed)


def _checkpointing(work: Work, dtype: torch.dtype, beside: int, progress: pillm.Progress) -> bool:
    chosen = planning.chosen_checkpointing(work.options, work.folder, work.train.rows, dtype, beside=beside)
    if chosen and work.options.gradient_checkpointing is None:
        progress.note("activations are computed again in the backward pass: memory would not hold them")
    return chosen


def _recipe(work: Work, facts: dict[str, Any]) -> str:
    """Return a hash of all that a training depends on: only checkpoints of the very same one are gone on from."""
    import torch

    told = [work.options.identity(), facts, torch.__version__]
    said = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for row in chain(work.train.rows, work.validation.rows):
        said.update(json.dumps([row.id, row.ids, row.start, row.end]).encode())
    return said.hexdigest()


def _facts(model: Any, dtype: torch.dtype, work: Work) -> dict[str, Any]:
    return {
        "base": work.source.identity,
        "seed": work.seed,
        "device": str(model.device),
        "dtype": str(dtype).removeprefix("torch."),
        "parameters": model.num_parameters(),
        "learnt_parameters": sum(part.numel() for part in model.parameters() if part.requires_grad),
        **work.facts,
    }
