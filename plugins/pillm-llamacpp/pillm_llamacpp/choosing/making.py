"""Make the files of an export whose quantisation is chosen: measure, search, choose, and ship what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.choosing import moments
from pillm_llamacpp.choosing.document import write
from pillm_llamacpp.choosing.scoring import scored_rows
from pillm_llamacpp.choosing.search import Search, Wishes
from pillm_llamacpp.choosing.trials import Bench
from pillm_llamacpp.measuring.texts import affordable, texts_of
from pillm_llamacpp.quantizing.quantization import publish, types_of

if TYPE_CHECKING:
    from pillm_llamacpp.choosing.options import Choosing
    from pillm_llamacpp.choosing.search import Choice
    from pillm_llamacpp.measuring.measures import Measures


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


def chosen(
    options: Choosing, checkpoint: pillm.Checkpoint, full: Path, measures: Measures, parity: pillm.Parity
) -> Iterator[pillm.ModelFile]:
    """Choose among the quantisations of a full file and yield the files that ship, the pick first.

    Raises GateError where no file keeps to the limits, and what quantising and measuring raise.
    """
    texts = affordable(texts_of(checkpoint), full.stat().st_size)
    if measures.reference is None or options.device is None:
        raise pillm.ConfigError("a choice needs validation conversations and a device.")
    folder = full.parent / "trials"
    folder.mkdir()
    bench = Bench(
        full=full, folder=folder, device=options.device, reference=measures.reference, imatrix=measures.imatrix,
        rows=scored_rows(checkpoint.probes(), texts.validation), threads=measures.threads, readers=measures.readers,
        progress=measures.progress,
    )  # fmt: skip
    if options.probes and texts.calibration:
        bench.moments = moments.gather(
            full, texts.calibration, threads=measures.readers, folder=folder / "moments", progress=measures.progress
        )
    wishes = Wishes(limits=options.limits, weights=dict(options.weights), probes=options.probes)
    with Search(bench, wishes) as search:
        choice = search.run()
    yield from _shipped(options, choice, bench, parity, measures)


def _shipped(
    options: Choosing, choice: Choice, bench: Bench, parity: pillm.Parity, measures: Measures
) -> Iterator[pillm.ModelFile]:
    out, stem = bench.full.parent.parent, bench.full.stem.rpartition("-")[0]
    others = [trial for trial in choice.front if trial.name != choice.picked.name] if options.keep == "front" else []
    kept = [choice.picked, *others]
    write(choice, {trial.name for trial in kept}, out)
    for trial in kept:
        part = out / f"{stem}-{trial.name}.gguf.part"
        bench.keep(trial.name, part)
        target = part.with_suffix("")
        publish(part, target)
        measures.used = measures.used or trial.imatrix
        yield pillm.ModelFile.of(
            target, trial.name, parity=parity, types=types_of(target), divergence=trial.divergence, imatrix=trial.imatrix
        )
