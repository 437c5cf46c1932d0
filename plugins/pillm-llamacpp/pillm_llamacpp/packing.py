"""One export at work: the checkpoint is converted once and proved, then quantised file by file, each tried and named."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.beside import write_beside
from pillm_llamacpp.converting import conversion
from pillm_llamacpp.converting.assets import copy_assets
from pillm_llamacpp.gates import logits, parity, proving, trial
from pillm_llamacpp.inference.session import Settings
from pillm_llamacpp.measuring.measures import Measures
from pillm_llamacpp.quantizing import quants as table
from pillm_llamacpp.quantizing.quantization import publish, types_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillm_llamacpp.exporter import GGUFExporter
    from pillm_llamacpp.gates.checks import Findings
    from pillm_llamacpp.gates.proving import Proof


@dataclass(frozen=True, slots=True)
class Packing:
    """A checkpoint on its way to model files."""

    options: GGUFExporter
    checkpoint: pillm.Checkpoint
    findings: Findings
    card: pillm.Card
    """What the files say of themselves."""
    work: Path
    """A folder in the one that the files go to; what lies there has no name yet."""
    progress: pillm.Progress

    def files(self) -> Iterator[pillm.ModelFile]:
        """Yield each file when it has passed every gate and has its name."""
        base = table.base_of(self.options.quants)
        full = self.work / self._name(base)
        proof = self._converted(full)
        measures = Measures(self._cores, self._threads_for(full), self.progress, self.work, self.options.fallback)
        if set(self.options.quants) != {base}:
            measures.prepare(full, self.checkpoint, option=self.options.imatrix, quants=self.options.quants)
        models = []
        for quant in self.options.quants:
            made = self._as_it_is(full, quant, proof) if quant == base else self._quantized(full, quant, proof, measures)
            models.append(made)
            yield made
        measures.keep(self.work.parent / f"{self.stem}.imatrix.gguf")
        if self.options.assets:
            copy_assets(self.checkpoint.path, self.work.parent)
        write_beside(self.work.parent, self.checkpoint, self.card, models, self.progress)

    @property
    def stem(self) -> str:
        """Return what the files' names begin with."""
        return self.options.file_name or self.card.stem

    def _name(self, quant: str) -> str:
        return f"{self.stem}-{quant}.gguf"

    @property
    def _cores(self) -> int:
        return self.options.threads or os.cpu_count() or 1

    def _threads_for(self, file: Path) -> int:
        return Settings(threads=self.options.threads).threads_for(file.stat().st_size)

    def _converted(self, full: Path) -> Proof:
        """Write the file in full precision and prove it."""
        rows, day = parity.rows_of(self.checkpoint, self.findings.pre), parity.day_of(self.checkpoint)
        label = self.checkpoint.label
        if rows[0].ids is None:
            self.progress.note(
                f"{label} carries no probes of its training; parity is checked on {len(rows)} built-in strings, "
                "between the reloaded tokenizer and llama.cpp only."
            )
        self.progress.start(None, unit="steps", message=f"converting {label} to {full.name}")
        told = conversion.Conversion(
            tree=str(source.require()), model=str(self.checkpoint.path.resolve()), outfile=str(full),
            outtype=full.stem.rpartition("-")[2].lower(), pre=self.options.pre, derived=self.findings.pre,
            stops=self.findings.stops, keys={**_keys(self.checkpoint), **pillm.metadata_of(self.card)}, day=day,
            rows=logits.ROWS, tokens=logits.TOKENS, encoder=self.findings.encoder,
        )  # fmt: skip
        made = conversion.run(told, map(parity.asked, rows), full.parent, self.progress)
        threads = self._threads_for(full)
        return proving.prove(full, rows, made, self.findings, day=day, threads=threads, progress=self.progress)

    def _as_it_is(self, full: Path, quant: str, proof: Proof) -> pillm.ModelFile:
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
        facts = measures.make(full, made, quant)
        near = self.tried(made, proof)
        mix = ", ".join(f"{count} x {kind}" for kind, count in facts["types"].items())
        self.progress.note(f"{quant}: {mix}; {near}.")
        return self.named(made, quant, proof, agreement=near, **facts)

    def tried(self, made: Path, proof: Proof) -> pillm.Agreement:
        """Return how near a file of the working folder is to the checkpoint; raise BackendError where it does not answer."""
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
    return {**keys, "pillm.contract": str(contract["hash"])} if contract.get("hash") else keys


def _copy(full: Path, part: Path) -> None:
    """Put the file at `part` without copying its bytes where the file system can."""
    part.unlink(missing_ok=True)
    try:
        os.link(full, part)
    except OSError:
        shutil.copyfile(full, part)
