"""Train a student, from rows to a checkpoint folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pillm
from pillm_hf.distilling import preparing
from pillm_hf.launching.launch import launch
from pillm_hf.models.hub import locate
from pillm_hf.models.loading import load_model
from pillm_hf.models.memory import told
from pillm_hf.models.quantizing import import_bitsandbytes
from pillm_hf.options.finetuning import FineTuning
from pillm_hf.options.lora import LoRAOptions
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded, Encoding, encode, prompts_of
from pillm_hf.rows.tokencache import opened
from pillm_hf.shrinking import starting
from pillm_hf.training import checkpoints, outputs, planning, students
from pillm_hf.training.fitting import UNROUNDED, Work, fit
from pillm_hf.training.tracking import tracked

_UNMERGED = (
    "memory ran out while the student was merged in 16 bit; what was trained is kept in {kept}. Free some memory and run the "
    "same command again: it goes on there."
)
_MANY = 1000  # rows that take the tokenizer half a second


def train(options: FineTuning, data: pillm.TrainingData, out: Path, progress: pillm.Progress) -> None:
    """Write the trained student to `out`; see `pillm.Trainer.train` for what the folder holds."""
    import torch

    import_bitsandbytes()
    source = locate(options.base, options.revision)
    begun = starting.start(options, data, source.fetch(progress), out, progress)
    folder = begun.folder
    chat = load_chat(folder)
    train_rows, validation = _encode(options, data, chat, progress)
    outputs.write_contract(data.contract, chat, out)
    asked = prompts_of(data.probes, data.contract, chat, progress.warn)
    outputs.write_probes(chain(train_rows.rows, validation.rows, asked), out)
    outputs.write_calibration(_calibration(data, chat), validation.rows, train_rows.rows, out)
    seed = data.seed if options.seed is None else options.seed
    work = Work(
        options=options, source=source, folder=folder, chat=chat, train=train_rows, validation=validation, seed=seed, out=out,
        facts=begun.facts, data=data,
    )  # fmt: skip
    with tracked(options.report_to or (), options.options() | {"seed": seed}, out, progress) as watched:
        log, facts = launch(work, data, watched) if options.launcher else fit(work, watched)

    samples = train_rows.rows[: students.SAMPLES]
    if isinstance(options, LoRAOptions):
        with told(lambda: _UNMERGED.format(kept=out / "adapter")):
            student = students.merged(options, folder, out / "adapter", samples, chat.pad_id)
    else:
        kept = out / UNROUNDED
        trained = load_model(kept, torch.float32, device_map="cpu")
        student = students.rounded(trained, students.stored_dtype(options, folder), kept, samples, chat.pad_id)
    outputs.save_student(student, chat, out)
    shutil.rmtree(out / UNROUNDED, ignore_errors=True)  # twice the student's size, and no better than it
    outputs.write_log(options, log, train_rows, facts, out)
    shutil.rmtree(out / starting.FOLDER, ignore_errors=True)
    preparing.remove(out)
    checkpoints.remove(out)  # last: until here a kill costs no step


def forecast(options: FineTuning, data: pillm.TrainingData, base: Path) -> pillm.TrainingForecast:
    """Return what `train` will take; raise what it would raise of the rows."""
    import_bitsandbytes()
    with TemporaryDirectory(prefix="pillm-") as work:
        folder = starting.start(options, data, base, Path(work), pillm.Progress()).folder
        train_rows, _ = _encode(options, data, load_chat(folder), pillm.Progress())
        dtype = students.computed_dtype(options, lambda _: None)
        return planning.forecast(options, train_rows.rows, folder, dtype, data.teacher)


def _encode(options: FineTuning, data: pillm.TrainingData, chat: Chat, progress: pillm.Progress) -> tuple[Encoding, Encoding]:
    """Return the encoded training and validation rows; raise DataError where nothing is left to train on."""
    made = []
    for name, rows in (("training", data.train), ("validation", data.validation)):
        with opened(chat, len(rows) if options.token_cache else 0, progress.warn) as cache:
            encoding = encode(_shown(rows, name, progress), data.contract, chat, options.max_length, cache)
        for reason, count in encoding.left_out.items():
            progress.warn(f"{count} of {len(rows)} {name} rows left out: {reason}.")
        made.append(encoding)
    if not made[0].rows:
        reasons = "; ".join(f"{count} rows: {reason}" for reason, count in made[0].left_out.items()) or "there are no rows"
        long = any("max_length" in reason for reason in made[0].left_out)
        remedy = (
            "Raise max_length, or shorten the rows." if long else "Mend the rows, or choose a base whose template fits them."
        )
        raise pillm.DataError(f"no row is left to train on ({reasons}). {remedy}")
    return made[0], made[1]


def _shown(rows: pillm.Rows, name: str, progress: pillm.Progress) -> Iterator[pillm.Example]:
    """Yield rows, and show how far the tokenizer is where there are many."""
    if len(rows) >= _MANY:
        progress.start(len(rows), "rows", f"tokenising {name} rows")
    for number, row in enumerate(rows, 1):
        yield row
        if len(rows) >= _MANY and number % _MANY == 0:
            progress.advance(_MANY)


def _calibration(data: pillm.TrainingData, chat: Chat) -> list[Encoded]:
    """Return the calibration conversations; a long one serves as well, since nothing is learnt from it."""
    return encode(data.calibration, data.contract, chat, max_length=1 << 30).rows
