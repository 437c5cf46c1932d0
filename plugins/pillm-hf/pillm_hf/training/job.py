"""Train a student, from rows to a checkpoint folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pillm
from pillm_hf.models.hub import locate
from pillm_hf.models.loading import load_chat
from pillm_hf.models.quantizing import import_bitsandbytes
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.text import Encoded, Encoding, encode, prompts_of
from pillm_hf.shrinking import starting
from pillm_hf.trainers.finetuning import FineTuning
from pillm_hf.trainers.lora import LoRA
from pillm_hf.training import outputs, planning, students
from pillm_hf.training.checkpoints import FOLDER, Checkpoints
from pillm_hf.training.loop import Loop

UNROUNDED = "trained-float32"
_SAMPLES = 8  # conversations on which the merged student is compared with the trained one


def train(options: FineTuning, data: pillm.TrainingData, out: Path, progress: pillm.Progress) -> None:
    """Write the trained student to `out`; see `pillm.Trainer.train` for what the folder holds."""
    import torch

    import_bitsandbytes()
    source = locate(options.base, options.revision)
    begun = starting.start(options, data, source.fetch(), out, progress)
    folder = begun.folder
    chat = load_chat(folder)
    train_rows, validation = _encode(options, data, chat, progress)
    outputs.write_contract(data.contract, chat, out)
    asked = prompts_of(data.probes, data.contract, chat, progress.warn)
    outputs.write_probes(chain(train_rows.rows, validation.rows, asked), out)
    outputs.write_calibration(_calibration(data, chat), out)

    seed = data.seed if options.seed is None else options.seed
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        longest = max(len(row.ids) for row in train_rows.rows)
        checkpointing = _checkpointing(options, folder, train_rows.rows, progress)
        model, dtype = students.build(options, folder, longest, progress.warn)
        facts = _facts(model, dtype, source.identity, seed) | begun.facts
        checkpoints = Checkpoints(out / FOLDER, _recipe(options, train_rows, validation, facts), progress.warn)
        loop = Loop(model, options, dtype, chat.pad_id, progress)
        loop.checkpointing = checkpointing
        log = loop.fit(train_rows.rows, validation.rows, seed, checkpoints)

    samples = train_rows.rows[:_SAMPLES]
    if isinstance(options, LoRA):
        adapter = outputs.save_adapter(model, source, options, out)  # before the merge, so that a failed merge loses nothing
        del model, loop
        student = students.merged(options, folder, adapter, samples, chat.pad_id)
    else:
        outputs.save_student(model, chat, out / UNROUNDED)  # before the rounding, so that a refused one loses nothing
        student = students.rounded(model, students.stored_dtype(options, folder), out / UNROUNDED, samples, chat.pad_id)
    outputs.save_student(student, chat, out)
    shutil.rmtree(out / UNROUNDED, ignore_errors=True)  # twice the student's size, and no better than it
    outputs.write_log(options, log, train_rows, facts, out)
    shutil.rmtree(out / starting.FOLDER, ignore_errors=True)
    checkpoints.remove()  # last: until here a kill costs no step


def forecast(options: FineTuning, data: pillm.TrainingData, base: Path) -> pillm.TrainingForecast:
    """Return what `train` will take; raise what it would raise of the rows."""
    import_bitsandbytes()
    with TemporaryDirectory(prefix="pillm-") as work:
        folder = starting.start(options, data, base, Path(work), pillm.Progress()).folder
        train_rows, _ = _encode(options, data, load_chat(folder), pillm.Progress())
        return planning.forecast(options, train_rows.rows, folder, students.computed_dtype(options, lambda _: None))


def _checkpointing(options: FineTuning, folder: Path, rows: list[Encoded], progress: pillm.Progress) -> bool:
    chosen = planning.chosen_checkpointing(options, folder, rows, students.computed_dtype(options, lambda _: None))
    if chosen and options.gradient_checkpointing is None:
        progress.note("activations are computed again in the backward pass: memory would not hold them")
    return chosen


def _encode(options: FineTuning, data: pillm.TrainingData, chat: Chat, progress: pillm.Progress) -> tuple[Encoding, Encoding]:
    """Return the encoded training and validation rows; raise DataError where nothing is left to train on."""
    made = []
    for name, rows in (("training", data.train), ("validation", data.validation)):
        encoding = encode(rows, data.contract, chat, options.max_length)
        for reason, count in encoding.left_out.items():
            progress.warn(f"{count} of {len(rows)} {name} rows left out: {reason}.")
        made.append(encoding)
    if not made[0].rows:
        reasons = "; ".join(f"{count} rows: {reason}" for reason, count in made[0].left_out.items()) or "there are no rows"
        raise pillm.DataError(f"no row is left to train on ({reasons}). Raise max_length or mend the rows.")
    return made[0], made[1]


def _calibration(data: pillm.TrainingData, chat: Chat) -> Iterator[Encoded]:
    """Yield the calibration conversations; a long one serves as well, since nothing is learnt from it."""
    return iter(encode(data.calibration, data.contract, chat, max_length=1 << 30).rows)


def _recipe(options: FineTuning, train: Encoding, validation: Encoding, facts: dict[str, Any]) -> str:
    """Return a hash of all that a training depends on: only checkpoints of the very same one are gone on from."""
    import torch

    said = hashlib.sha256(json.dumps([options.identity(), facts, torch.__version__], sort_keys=True, default=str).encode())
    for row in chain(train.rows, validation.rows):
        said.update(json.dumps([row.id, row.ids, row.start, row.end]).encode())
    return said.hexdigest()


def _facts(model: Any, dtype: Any, identity: str, seed: int) -> dict[str, Any]:
    return {
        "base": identity,
        "seed": seed,
        "device": str(model.device),
        "dtype": str(dtype).removeprefix("torch."),
        "parameters": model.num_parameters(),
        "learnt_parameters": sum(part.numel() for part in model.parameters() if part.requires_grad),
    }
