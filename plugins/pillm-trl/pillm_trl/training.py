"""Train a student on preferences, from rows to a checkpoint folder."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import shutil
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pillm_hf import (
    FOLDER,
    UNROUNDED,
    Chat,
    Encoded,
    Encoding,
    Log,
    Source,
    encode,
    import_bitsandbytes,
    load_chat,
    load_model,
    locate,
    outputs,
    prompts_of,
    students,
    told,
)

import pillm
from pillm_trl.options import DPOOptions
from pillm_trl.pairs import Pairs, encode_pairs
from pillm_trl.quiet import undisturbed
from pillm_trl.resuming import Seals, Whole

if TYPE_CHECKING:
    from pillm_trl.learning import Learner

_NO_LIMIT = 1 << 30


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained on what, and where it goes."""

    options: DPOOptions
    source: Source
    chat: Chat
    taught: Pairs
    watched: Pairs
    seed: int
    out: Path
    progress: pillm.Progress

    @property
    def folder(self) -> Path:
        """Return the base's folder."""
        return self.chat.folder

    @property
    def samples(self) -> list[Encoded]:
        """Return a few conversations."""
        return [pair.chosen for pair in self.taught.rows[: students.SAMPLES]]


def train(options: DPOOptions, data: pillm.TrainingData, out: Path, progress: pillm.Progress) -> None:
    """Write the trained student to `out`; see `pillm.Trainer.train` for what the folder holds."""
    import_bitsandbytes()
    source = locate(options.base, options.revision)
    chat = load_chat(source.fetch())
    taught, watched = _pairs(options, data, chat, progress)
    outputs.write_contract(data.contract, chat, out)
    asked = prompts_of(data.probes, data.contract, chat, progress.warn)
    outputs.write_probes(chain(taught.conversations(), watched.conversations(), asked), out)
    calibration = encode(data.calibration, data.contract, chat, _NO_LIMIT).rows
    chosen, held_out = ([pair.chosen for pair in pairs.rows] for pairs in (taught, watched))
    outputs.write_calibration(calibration, held_out, chosen, out)
    seed = data.seed if options.seed is None else options.seed
    job = Job(options, source, chat, taught, watched, seed, out, progress)
    with undisturbed():
        model, log, facts = _learn(job)
        if options.adapter:
            kept = outputs.save_adapter(model, source, options.student, out)  # before the merge: a failed one loses nothing
        else:
            kept = out / UNROUNDED
            outputs.save_student(model, chat, kept)  # before the rounding: a refused one loses nothing
        del model
        outputs.save_student(_student(job, kept), chat, out)
    shutil.rmtree(out / UNROUNDED, ignore_errors=True)  # twice the student's size, and no better than it
    rows = Encoding([pair.chosen for pair in taught.rows], taught.left_out)
    outputs.write_log(options, log, rows, facts, out)
    shutil.rmtree(out / FOLDER, ignore_errors=True)  # last: until here a kill costs no step


def _pairs(options: DPOOptions, data: pillm.TrainingData, chat: Chat, progress: pillm.Progress) -> tuple[Pairs, Pairs]:
    """Return the training and validation pairs; raise DataError where nothing is left to train on."""
    made = []
    for name, rows in (("training", data.train), ("validation", data.validation)):
        pairs = encode_pairs(rows, data.contract, chat, options.max_length)
        for reason, count in pairs.left_out.items():
            progress.warn(f"{count} of {len(rows)} {name} rows left out: {reason}.")
        made.append(pairs)
    if not made[0].rows:
        reasons = "; ".join(f"{count} rows: {reason}" for reason, count in made[0].left_out.items()) or "there are no rows"
        raise pillm.DataError(
            f"no pair is left to train on ({reasons}). Each row needs an answer and a worse one as 'rejected' "
            "(`pillm data pairs` makes such rows), and both must fit max_length."
        )
    return made[0], made[1]


def _learn(job: Job) -> tuple[Any, Log, dict[str, Any]]:
    """Return the trained model, the log of its training, and the machine's part."""
    import torch

    from pillm_trl.learning import Learner, configuration, table
    from pillm_trl.watching import Watch

    options, rows = job.options, job.taught.rows
    torch.manual_seed(job.seed)
    model, dtype = students.build(options.student, job.folder, job.progress.warn)
    config, facts = copy.deepcopy(model.config), _facts(job, model, dtype)
    seals = Seals(job.out / FOLDER, _recipe(job, facts), job.progress.warn)
    begun = seals.newest()
    watch = Watch(job.progress, seals, options.save_steps, begun.seconds if begun else 0.0)
    with told(lambda: _ran_out(options)):
        learner = Learner(
            model,
            ref_model=_reference(job),
            args=configuration(options, dtype, job.seed, seals.folder, watched=bool(job.watched.rows)),
            train_dataset=table(rows),
            eval_dataset=table(job.watched.rows) if job.watched.rows else None,
            processing_class=load_chat(job.folder).tokenizer,  # one of its own: TRL sets its padding token
            callbacks=[watch],
        )
        learner.settle(options.dropout)
        _run(learner, begun)
    model.config = config  # TRL wrote its own habits into it
    return model, _log(job, learner.state, watch.seconds), facts


def _run(learner: Learner, begun: Whole | None) -> None:
    """Train, from a checkpoint on where there is one; raise UnsafeError where it holds what could run."""
    try:
        learner.train(resume_from_checkpoint=str(begun.path) if begun else None)
    except pickle.UnpicklingError as error:
        raise pillm.UnsafeError(
            f"{begun.path if begun else learner.args.output_dir} holds more than tensors and plain values, and nothing of it "
            "was run. Remove the folder to train from the start."
        ) from error


def _ran_out(options: DPOOptions) -> str:
    """Return what a person is told where memory ran out: what is safe, and which options take less."""
    pairs, passes = options.per_device_train_batch_size, options.gradient_accumulation_steps
    fewer = next((count for count in range(pairs // 2, 0, -1) if pairs % count == 0), 1)
    ways = [
        f"per_device_train_batch_size={fewer} and gradient_accumulation_steps={passes * pairs // fewer}" if pairs > 1 else "",
        "" if options.gradient_checkpointing else "gradient_checkpointing=true",
        "" if options.adapter or options.precompute_ref_log_probs else "precompute_ref_log_probs=true",
        "" if options.adapter else "adapter=true",
        f"a max_length below {options.max_length}",
    ]
    return (
        f"memory ran out with per_device_train_batch_size={pairs}; checkpoints that were saved before it are kept. Set "
        f"{', or '.join(filter(None, ways))}, and train again."
    )


def _reference(job: Job) -> Any:
    """Return the base as it is, to compare with where all weights are learnt; adapters are simply taken off for that."""
    if job.options.adapter or job.options.precompute_ref_log_probs:
        return None
    return students.build(job.options.student, job.folder, job.progress.warn)[0].requires_grad_(False)


def _student(job: Job, kept: Path) -> Any:
    """Return the student in 16 bit, merged or rounded from what was kept."""
    options, pad_id = job.options.student, job.chat.pad_id
    if job.options.adapter:
        return students.merged(options, job.folder, kept, job.samples, pad_id)
    dtype = students.stored_dtype(options, job.folder)
    return students.rounded(load_model(kept, "float32", device_map="cpu"), dtype, kept, job.samples, pad_id)


def _log(job: Job, state: Any, seconds: float) -> Log:
    """Return the log of a training in the form that every trainer writes."""
    from pillm_trl.watching import FIGURES, VALIDATED, renamed

    log, epochs = Log(), job.options.num_train_epochs
    log.epoch, log.steps, log.seconds = epochs, state.global_step, seconds
    log.tokens = epochs * sum(pair.tokens for pair in job.taught.rows)
    log.answer_tokens = epochs * sum(pair.answer_tokens for pair in job.taught.rows)
    for said in state.log_history:
        if "loss" in said:
            log.entries.append({"step": said["step"], **renamed(said, FIGURES)})
        elif "eval_loss" in said:
            log.validation.append({"epoch": said["epoch"], "step": said["step"], **renamed(said, VALIDATED)})
    return log


def _recipe(job: Job, facts: dict[str, Any]) -> str:
    """Return a hash of all that a training depends on: only checkpoints of the very same one are gone on from."""
    import torch
    import transformers

    versions = [torch.__version__, transformers.__version__]
    said = hashlib.sha256(json.dumps([job.options.identity(), facts, versions], sort_keys=True, default=str).encode())
    for pair in chain(job.taught.rows, job.watched.rows):
        said.update(json.dumps([pair.chosen.id, pair.prompt_ids, pair.chosen_ids, pair.rejected_ids]).encode())
    return said.hexdigest()


def _facts(job: Job, model: Any, dtype: Any) -> dict[str, Any]:
    import trl

    return {
        "trl": trl.__version__,
        "base": job.source.identity,
        "seed": job.seed,
        "device": str(model.device),
        "dtype": str(dtype).removeprefix("torch."),
        "parameters": model.num_parameters(),
        "learnt_parameters": sum(part.numel() for part in model.parameters() if part.requires_grad),
    }
