"""An adapter as a file of its own, which llama.cpp puts on its base when it loads (`--lora`)."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.converting.conversion import Conversion
from pillm_llamacpp.converting.pretokenizer import SENTENCE_PIECE
from pillm_llamacpp.gates import logits, parity
from pillm_llamacpp.gates.finite import check_finite
from pillm_llamacpp.quantizing.quantization import full, publish, types_of
from pillm_llamacpp.quantizing.quants import DIRECT, base_of
from pillm_llamacpp.workers.client import Worker
from pillm_llamacpp.writing.making import make
from pillm_llamacpp.writing.writer import Uncovered, Writing, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pillm_llamacpp.gates.checks import Findings
    from pillm_llamacpp.gates.room import Precision
    from pillm_llamacpp.options import GGUFOptions
    from pillm_llamacpp.writing.sources import Laid

EXACT = ("F32", "F16")
"""Storage types whose logits are judged; of the others it is told how near they are."""


@dataclass(frozen=True, slots=True)
class Alone:
    """An adapter on its way to files of its own."""

    options: GGUFOptions
    laid: Laid
    findings: Findings
    card: pillm.Card
    out: Path
    progress: pillm.Progress
    precision: Precision | None = None
    """How the checkpoint is held while it is asked; None: it is not asked."""

    def files(self) -> Iterator[pillm.ModelFile]:
        """Write STEM-lora-QUANT.gguf for each storage type, prove it on its base, and yield it.

        Raises ConfigError for a model that is no adapter or a type that adapters are not stored as, DataError for an
        adapter that such a file cannot hold, BackendError where it computes something else on its base than the
        checkpoint does, StorageError where the disk is full.
        """
        quants = self.options.quants if "quants" in self.options.model_fields_set else ("F16",)
        if self.laid.adapter is None:
            folder = self.laid.checkpoint.path
            raise pillm.ConfigError(f"{folder} is a whole model, not an adapter's folder; leave out `adapter`.")
        if strange := [quant for quant in quants if quant not in DIRECT]:
            raise pillm.ConfigError(f"an adapter alone is not stored as {strange[0]}. Ask for one of {', '.join(DIRECT)}.")
        stem, work = self.options.file_name or self.card.stem, self.out / ".gguf-work"
        outputs = {quant: self.out / f"{stem}-lora-{quant}.gguf" for quant in quants}
        try:
            shutil.rmtree(work, ignore_errors=True)  # of an attempt that was interrupted
            work.mkdir(parents=True)
            parts = self._written({quant: work / f"{stem}-lora-{quant}.gguf" for quant in (base_of(quants), *quants)})
            near = self._proved(parts, base_of(quants), work) if self.precision else {}
            for quant, path in outputs.items():
                types = types_of(parts[quant])
                publish(parts[quant], path)
                yield pillm.ModelFile.of(path, quant, types=types, agreement=near.get(quant))
        except Uncovered as missing:
            said = f"{self.laid.adapter} cannot be written alone: {missing}. Leave out `adapter` to merge it."
            raise pillm.DataError(said) from missing
        except OSError as error:
            raise full(self.out / stem, os.strerror(error.errno or 0)) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _written(self, parts: dict[str, Path]) -> dict[str, Path]:
        """Write a file of each storage type, none of which has its place yet; all their numbers are finite."""
        folder = str(self.laid.checkpoint.path)
        writing = Writing(
            tree=str(source.require()), texts=folder, weights=folder, adapter=str(self.laid.adapter),
            keys=pillm.metadata_of(self.card), threads=self.options.threads or 1, alone=True,
        )  # fmt: skip
        write(writing, parts, self.progress)
        for path in parts.values():
            with Worker(f"the check of {path.name}'s weights") as worker:
                check_finite(worker, path)
        return parts

    def _proved(self, parts: Mapping[str, Path], kind: str, work: Path) -> dict[str, pillm.Agreement]:
        """Return how near each file, on its base in llama.cpp, is to the checkpoint; raise BackendError where one is not.

        The base is written for that as `kind`, and the checkpoint is asked with the adapter on it, unmerged, by peft.
        """
        checkpoint, base = self.laid.checkpoint, work / f"base-{kind}.gguf"
        rows = parity.rows_of(checkpoint, self.findings.pre)[: logits.ROWS]
        told = Conversion(
            tree=str(source.require()), model=str(checkpoint.path), outfile=str(base), outtype=kind.lower(), pre=None,
            # ids are compared, not texts: whatever splits them will do
            derived=self.findings.pre or SENTENCE_PIECE, stops=self.findings.stops, day=parity.day_of(checkpoint),
            rows=logits.ROWS, tokens=logits.TOKENS, adapter=str(self.laid.adapter), apart=True,
            precision=self.precision or "float32",
        )  # fmt: skip
        threads = self.options.threads or 1
        made = make("auto", told, list(map(parity.asked, rows)), {kind: base}, threads=threads, progress=self.progress)
        near = {}
        with Worker(f"the proof of {checkpoint.label} on its base") as worker:
            longest = max((len(row["ids"]) for row in made.predicted), default=0)
            worker.ask(op="open", path=str(base), threads=threads, context=longest + 8, parallel=1)
            for quant, path in parts.items():
                if quant in EXACT:
                    near[quant] = logits.check(worker, path, made, self.progress, path)
                else:
                    near[quant] = logits.measure(worker, made, lora=path)[0]
                self.progress.note(f"{quant} on its base: {near[quant]}.")
        return near
