"""Make the files of an export whose quantisation is chosen: measure, search, choose, and ship what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.choosing import moments
from pillm_llamacpp.choosing.document import write
from pillm_llamacpp.choosing.front import FULL
from pillm_llamacpp.choosing.ledger import Ledger
from pillm_llamacpp.choosing.reasons import Basis
from pillm_llamacpp.choosing.scoring import UNKNOWN, Task, scored_rows, task_of
from pillm_llamacpp.choosing.search import Search, Wishes
from pillm_llamacpp.choosing.trials import Bench
from pillm_llamacpp.measuring import keeping
from pillm_llamacpp.measuring.texts import texts_of
from pillm_llamacpp.quantizing.finished import LEDGER_FILE
from pillm_llamacpp.quantizing.quantization import types_of

if TYPE_CHECKING:
    from pillm_llamacpp.choosing.front import Trial
    from pillm_llamacpp.choosing.options import Choosing
    from pillm_llamacpp.gates.proving import Proof
    from pillm_llamacpp.measuring.measures import Measures
    from pillm_llamacpp.measuring.texts import Texts
    from pillm_llamacpp.packing.packing import Packing


def check(options: Choosing, checkpoint: pillm.Checkpoint) -> None:
    """Raise ConfigError where a checkpoint carries nothing that a choice could be made by."""
    texts = texts_of(checkpoint)
    if not texts.validation:
        raise pillm.ConfigError(
            f"{checkpoint.path} carries no conversations of its training, so nothing can be compared and no quantisation "
            "chosen. Train with pillm, with some rows set aside by split.validation, or name the quants yourself."
        )
    if all(metric.name in UNKNOWN for metric in options.scoring()):
        raise pillm.ConfigError(
            "the metric schema cannot be scored here, since what a trainer records of a row has no schema. Add another to the "
            "exporter's option metrics: exact, json or fields."
        )
    if options.min_exact is not None and (texts.seen or not scored_rows(checkpoint.probes(), texts.validation)):
        why = "only rows that were trained on" if texts.seen else "no validation rows with an answer"
        raise pillm.ConfigError(
            f"min_exact cannot be checked: {checkpoint.path} carries {why}. Train with pillm, "
            "with some rows set aside by split.validation, or leave min_exact out."
        )


def chosen(packing: Packing, full: Path, proof: Proof, measures: Measures) -> Iterator[pillm.ModelFile]:
    """Choose among the quantisations of a full file and yield the files that ship, the pick first.

    What an interrupted choice had measured is taken up. Raises GateError where no file keeps to the limits, StorageError
    where the disk cannot hold the search, and what quantising and measuring raise.
    """
    options, progress = packing.options, packing.progress
    bench, texts = _bench(packing, full, measures)
    wishes = Wishes(limits=options.limits, weights=dict(options.weights), probes=options.probes)
    with Search(bench, wishes) as search:
        forecast = search.forecast()
        thrifty = forecast.thrifty(bench.folder)
        progress.note(forecast.told(len(bench.ledger), thrifty=thrifty))
        if options.probes and texts.calibration:
            bench.moments = _moments(bench, texts, measures)
        choice = search.run(thrifty=thrifty)
    others = [trial for trial in choice.front if trial.name != choice.picked.name] if options.keep == "front" else []
    kept = [choice.picked, *others]
    write(choice, {trial.name for trial in kept}, packing.work.parent)
    for trial in kept:
        measures.used = measures.used or trial.imatrix
        yield _shipped(packing, trial, bench, proof)


def _bench(packing: Packing, full: Path, measures: Measures) -> tuple[Bench, Texts]:
    """Return what files are measured with, and the texts; what other weights or texts left behind is removed."""
    options, texts = packing.options, measures.texts
    if measures.reference is None or options.device is None:
        raise pillm.ConfigError("a choice needs validation conversations and a device.")
    every = texts_of(packing.checkpoint)
    task = task_of(packing.checkpoint, every, options.scoring(), full.stat().st_size, options.rows)
    weights = sorted(measures.imatrix.keys().items()) if measures.imatrix is not None else None
    state = keeping.key_of(measures.state, texts.validation, texts.answers, texts.calibration, weights, pillm.__version__)
    ledger = Ledger(packing.work / LEDGER_FILE, state)
    folder = packing.work / "trials"
    if not ledger.resumed:
        keeping.clear(folder)
    folder.mkdir(exist_ok=True)
    for left in folder.glob("*.gguf.part"):  # of an attempt that was interrupted
        left.unlink()
    bench = Bench(
        full=full, folder=folder, device=options.device, reference=measures.reference, imatrix=measures.imatrix, task=task,
        threads=measures.threads, readers=measures.readers, progress=packing.progress, ledger=ledger, basis=_basis(texts, task),
    )  # fmt: skip
    return bench, texts


def _basis(texts: Texts, task: Task) -> Basis:
    applying = (metric.name for metric in task.metrics if any(metric.applies(row) for row in task.rows))
    return Basis(
        compared=len(texts.validation), answer_tokens=texts.answer_tokens, scored=len(task.rows),
        metric=next(applying, None), max_tokens=task.max_tokens, seen=texts.seen,
    )  # fmt: skip


def _moments(bench: Bench, texts: Texts, measures: Measures) -> moments.Moments:
    folder, key = bench.folder / "moments", keeping.key_of(measures.state, texts.calibration)
    if measures.state and keeping.holds(folder, key):
        return moments.Moments.read(folder)
    keeping.clear(folder)
    found = moments.gather(bench.full, texts.calibration, threads=measures.readers, folder=folder, progress=bench.progress)
    keeping.seal(folder, key)
    return found


def _shipped(packing: Packing, trial: Trial, bench: Bench, proof: Proof) -> pillm.ModelFile:
    if trial.name == FULL:
        return packing.as_it_is(bench.full, trial.name, proof)
    made = bench.full.with_name(f"{packing.stem}-{trial.name}.gguf")
    bench.keep(trial.name, made)
    near = packing.tried(made, proof)
    return packing.named(
        made, trial.name, proof, agreement=near, types=types_of(made), divergence=trial.divergence, imatrix=trial.imatrix
    )
