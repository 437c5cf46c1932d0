"""Make the files of an export whose quantisation is chosen: measure, search, choose, and ship what is kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.choosing import moments
from pillm_llamacpp.choosing.document import write
from pillm_llamacpp.choosing.front import FULL
from pillm_llamacpp.choosing.scoring import scored_rows
from pillm_llamacpp.choosing.search import Search, Wishes
from pillm_llamacpp.choosing.trials import Bench
from pillm_llamacpp.measuring.texts import affordable, texts_of
from pillm_llamacpp.quantizing.quantization import types_of

if TYPE_CHECKING:
    from pillm_llamacpp.choosing.front import Trial
    from pillm_llamacpp.choosing.options import Choosing
    from pillm_llamacpp.gates.proving import Proof
    from pillm_llamacpp.measuring.measures import Measures
    from pillm_llamacpp.packing import Packing


def check(options: Choosing, checkpoint: pillm.Checkpoint) -> None:
    """Raise ConfigError where a checkpoint carries nothing that a choice could be made by."""
    texts = texts_of(checkpoint)
    if not texts.validation:
        raise pillm.ConfigError(
            f"{checkpoint.path} carries no conversations of its training, so nothing can be compared and no quantisation "
            "chosen. Train with pillm, with some rows set aside by split.validation, or name the quants yourself."
        )
    if options.min_exact is not None and not scored_rows(checkpoint.probes(), texts.validation):
        raise pillm.ConfigError(
            f"min_exact cannot be checked: {checkpoint.path} carries no validation rows with an answer. Train with pillm, "
            "with some rows set aside by split.validation, or leave min_exact out."
        )


def chosen(packing: Packing, full: Path, proof: Proof, measures: Measures) -> Iterator[pillm.ModelFile]:
    """Choose among the quantisations of a full file and yield the files that ship, the pick first.

    Raises GateError where no file keeps to the limits, and what quantising and measuring raise.
    """
    options = packing.options
    texts = affordable(texts_of(packing.checkpoint), full.stat().st_size)
    if measures.reference is None or options.device is None:
        raise pillm.ConfigError("a choice needs validation conversations and a device.")
    folder = packing.work / "trials"
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was interrupted
    folder.mkdir()
    bench = Bench(
        full=full, folder=folder, device=options.device, reference=measures.reference, imatrix=measures.imatrix,
        rows=scored_rows(packing.checkpoint.probes(), texts.validation), threads=measures.threads, readers=measures.readers,
        progress=packing.progress,
    )  # fmt: skip
    if options.probes and texts.calibration:
        bench.moments = moments.gather(
            full, texts.calibration, threads=measures.readers, folder=folder / "moments", progress=packing.progress
        )
    wishes = Wishes(limits=options.limits, weights=dict(options.weights), probes=options.probes)
    with Search(bench, wishes) as search:
        choice = search.run()
    others = [trial for trial in choice.front if trial.name != choice.picked.name] if options.keep == "front" else []
    kept = [choice.picked, *others]
    write(choice, {trial.name for trial in kept}, packing.work.parent)
    for trial in kept:
        measures.used = measures.used or trial.imatrix
        yield _shipped(packing, trial, bench, proof)


def _shipped(packing: Packing, trial: Trial, bench: Bench, proof: Proof) -> pillm.ModelFile:
    if trial.name == FULL:
        return packing.as_it_is(bench.full, trial.name, proof)
    made = bench.full.with_name(f"{packing.stem}-{trial.name}.gguf")
    bench.keep(trial.name, made)
    near = packing.tried(made, proof)
    return packing.named(
        made, trial.name, proof, agreement=near, types=types_of(made), divergence=trial.divergence, imatrix=trial.imatrix
    )
