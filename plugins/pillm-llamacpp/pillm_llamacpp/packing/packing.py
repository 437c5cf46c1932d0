"""One export at work: the checkpoint is converted once and proved, then quantised file by file, each tried and named."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.converting import conversion
from pillm_llamacpp.converting.assets import copy_assets
from pillm_llamacpp.converting.pretokenizer import WORD_PIECE
from pillm_llamacpp.gates import logits, parity, proving, trial
from pillm_llamacpp.inference.session import Settings
from pillm_llamacpp.measuring.measures import Measures
from pillm_llamacpp.measuring.texts import CHOICE
from pillm_llamacpp.packing.asked import asked_keys
from pillm_llamacpp.packing.beside import write_for_use
from pillm_llamacpp.packing.picking import chosen
from pillm_llamacpp.quantizing import quants as table
from pillm_llamacpp.quantizing.quantization import publish, types_of
from pillm_llamacpp.writing.making import make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillm_llamacpp.gates.checks import Findings
    from pillm_llamacpp.gates.proving import Proof
    from pillm_llamacpp.gates.room import Precision
    from pillm_llamacpp.options import GGUFOptions
    from pillm_llamacpp.quantizing.finished import Finished


@dataclass(frozen=True, slots=True)
class Packing:
    """A checkpoint on its way to model files."""

    options: GGUFOptions
    checkpoint: pillm.Checkpoint
    findings: Findings
    card: pillm.Card
    """What the files say of themselves."""
    work: Path
    """A folder in the one that the files go to; what lies there has no name yet."""
    progress: pillm.Progress
    finished: Finished
    """What an interrupted export had made already."""
    adapter: Path | None = None
    """An adapter that is merged into the checkpoint's weights."""
    precision: Precision | None = "float32"
    """How the checkpoint is held while it is asked; None: it is not asked."""

    @property
    def stem(self) -> str:
        """Return what the files' names begin with."""
        return self.options.file_name or self.card.stem

    def files(self) -> Iterator[pillm.ModelFile]:
        """Yield each file when it has passed every gate and has its name; then write what stands beside them."""
        models = []
        for model in self._files():
            models.append(model)
            yield model
        pillm.write_card(self.work.parent, self.card)
        write_for_use(self.work.parent, self.checkpoint, self.card, models, self.progress)

    def _files(self) -> Iterator[pillm.ModelFile]:
        base = table.base_of(self.options.quants)
        full = self.work / self._name(base)
        kept = {quant: self.finished.model(self.work.parent / self._name(quant), quant) for quant in self.options.quants}
        missing = tuple(quant for quant, model in kept.items() if model is None)
        proof = self._converted(full, missing)
        measures = self._measures(full)
        if set(self.options.quants) != {base}:
            measures.prepare(full, self.checkpoint, option=self.options.imatrix, quants=self.options.quants)
        if self.options.chooses:
            yield from chosen(self, full, proof, measures)
        for quant, model in () if self.options.chooses else kept.items():
            if model is not None:
                measures.used |= model.imatrix
                yield model
                continue
            made = self.as_it_is(full, quant, proof) if quant == base else self._quantized(full, quant, proof, measures)
            self.finished.add(made)
            yield made
        measures.keep(self.work.parent / f"{self.stem}.imatrix.gguf")
        if self.options.assets:
            copy_assets(self.checkpoint.path, self.work.parent)

    def _name(self, quant: str) -> str:
        return f"{self.stem}-{quant}.gguf"

    def _measures(self, full: Path) -> Measures:
        """Return what files are measured with: a choice rests on more rows, and takes up what an interrupted one measured."""
        found = Measures(self._cores, self._threads_for(full), self.progress, self.work, self.options.fallback)
        if self.options.chooses:
            found.budget, found.state = replace(CHOICE, most=self.options.rows), pillm.sha256_file(full)
        return found

    @property
    def _cores(self) -> int:
        return self.options.threads or os.cpu_count() or 1

    def _threads_for(self, file: Path) -> int:
        return Settings(threads=self.options.threads).threads_for(file.stat().st_size)

    def _converted(self, full: Path, quants: tuple[str, ...]) -> Proof:
        """Write the file in full precision, and beside it what else comes out of the same pass; prove it."""
        rows, day = parity.rows_of(self.checkpoint, self.findings.pre), parity.day_of(self.checkpoint)
        label = self.checkpoint.label
        if rows[0].ids is None:
            self.progress.note(
                f"{label} carries no probes of its training; parity is checked on {len(rows)} built-in strings, "
                "between the reloaded tokenizer and llama.cpp only."
            )
        if self.findings.pre == WORD_PIECE:
            self.progress.warn(
                f"llama.cpp splits Korean, Hindi, Bengali and words of more than 100 letters otherwise than {label}'s own "
                "tokenizer, as it does for every WordPiece vocabulary: do not embed such text with these files."
            )
        self.progress.start(None, unit="steps", message=f"converting {label} to {full.name}")
        told = conversion.Conversion(
            tree=str(source.require()), model=str(self.checkpoint.path.resolve()), outfile=str(full),
            outtype=full.stem.rpartition("-")[2].lower(), pre=self.options.pre, derived=self.findings.pre,
            stops=self.findings.stops, keys={**_keys(self.checkpoint), **pillm.metadata_of(self.card)}, day=day,
            rows=logits.ROWS if self.precision else 0, tokens=logits.TOKENS, encoder=self.findings.encoder,
            adapter=str(self.adapter) if self.adapter else None, precision=self.precision or "float32",
        )  # fmt: skip
        kinds = dict.fromkeys((table.base_of(self.options.quants), *table.direct(quants)))
        outputs = {kind: self.work / self._name(kind) for kind in kinds}
        probes = list(map(parity.asked, rows))
        made = make(self.options.writer, told, probes, outputs, threads=self._cores, progress=self.progress)
        threads = self._threads_for(full)
        return proving.prove(full, rows, made, self.findings, day=day, threads=threads, progress=self.progress)

    def as_it_is(self, full: Path, quant: str, proof: Proof) -> pillm.ModelFile:
        """Give the file in full precision its name, and return its record."""
        target = self.work.parent / full.name
        types, part = types_of(full), target.with_name(f"{target.name}.part")
        try:
            _copy(full, part)
            publish(part, target)
        finally:
            part.unlink(missing_ok=True)
        return pillm.ModelFile.of(target, quant, parity=proof.parity, agreement=proof.agreement, types=types)

    def _quantized(self, full: Path, quant: str, proof: Proof, measures: Measures) -> pillm.ModelFile:
        made = self.work / self._name(quant)
        if quant in table.DIRECT and made.is_file():  # out of the same pass
            facts: dict[str, Any] = {"types": types_of(made), "divergence": measures.measure(made), "imatrix": False}
        else:
            facts = measures.make(full, made, quant)
        near = self.tried(made, proof)
        mix = ", ".join(f"{count} x {kind}" for kind, count in facts["types"].items())
        self.progress.note(f"{quant}: {mix}{f'; {near}' if near else ''}.")
        return self.named(made, quant, proof, agreement=near, **facts)

    def tried(self, made: Path, proof: Proof) -> pillm.Agreement | None:
        """Return how near a file of the working folder is to the checkpoint, where that is asked.

        Raises BackendError where it does not answer.
        """
        return trial.attempt(made, proof, threads=self._threads_for(made))

    def named(self, made: Path, quant: str, proof: Proof, **facts: Any) -> pillm.ModelFile:
        """Give a file of the working folder its name, and return its record."""
        target = self.work.parent / made.name
        publish(made, target)
        return pillm.ModelFile.of(target, quant, parity=proof.parity, **facts)


def _keys(checkpoint: pillm.Checkpoint) -> dict[str, str]:
    keys = {"pillm.version": pillm.__version__, "pillm.source": source.IDENTITY}
    tokenizer = checkpoint.path / "tokenizer.json"
    if tokenizer.is_file():
        keys["pillm.tokenizer"] = pillm.tokenizer_hash(tokenizer)
    contract = checkpoint.contract
    if contract.get("template"):
        keys["pillm.template"] = pillm.template_hash(contract["template"])
    keys |= asked_keys(checkpoint)
    return {**keys, "pillm.contract": str(contract["hash"])} if contract.get("hash") else keys


def _copy(full: Path, part: Path) -> None:
    """Put the file at `part` without copying its bytes where the file system can."""
    part.unlink(missing_ok=True)
    try:
        os.link(full, part)
    except OSError:
        shutil.copyfile(full, part)
