"""The exporter `gguf`: convert once, prove parity, then quantise."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.gates.fallbacks import Rule
from pillm_llamacpp.quantizing import quants as table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillm_llamacpp.gates.checks import Findings
    from pillm_llamacpp.gates.proving import Proof

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class GGUFExporter(pillm.Exporter):
    """Packs a checkpoint into GGUF files, one per quantisation, proved token for token against its training."""

    name: ClassVar[str] = "gguf"
    writes: ClassVar[frozenset[str]] = frozenset({"gguf"})

    quants: tuple[str, ...] = Field(
        ("F16", "Q8_0", "Q4_K_M", "IQ4_NL"), min_length=1, description="llama.cpp's quantisations to make."
    )
    pre: str | None = Field(
        None, description="llama.cpp's pre-tokenizer; none: derived from tokenizer.json. The parity gate judges it."
    )
    file_name: str | None = Field(None, description="Stem of the files' names; none: the checkpoint's name.")
    title: str | None = Field(None, description="The model's name in the file's metadata; none: the stem.")
    license: str | None = Field(None, description="The model's licence in the file's metadata, as an SPDX id.")
    fallback: Rule = Field(
        "warn",
        description="Where rows do not fit a K-quant's blocks of 256 and another type is stored: refuse, warn or allow.",
        json_schema_extra={"key": False},
    )
    assets: bool = Field(True, description="Copy the tokenizer's files beside the model files.")
    keep_work: bool = Field(
        False, description="Keep the intermediate files of an export that fails.", json_schema_extra={"key": False}
    )
    threads: int | None = Field(
        None, ge=1, le=256, description="Threads to check and pack with; none: one per core.", json_schema_extra={"key": False}
    )

    @field_validator("quants", mode="before")
    @classmethod
    def _known_quants(cls, value: Any) -> Any:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            return value
        return tuple(dict.fromkeys(table.canonical(name) for name in names))

    @field_validator("file_name")
    @classmethod
    def _safe_name(cls, value: str | None) -> str | None:
        if value is not None and not _SLUG.fullmatch(value):
            raise ValueError("a file name's stem is made of letters, digits, dots, dashes and underscores")
        return value

    def identity(self) -> dict[str, Any]:
        """Return the options and the source that the files are made with."""
        return {**super().identity(), "source": source.IDENTITY}

    def check(self) -> None:
        """Raise MissingDependency where the converter, or what it needs, is not installed."""
        from pillm_llamacpp.gates.checks import check_tools

        source.require()
        check_tools()

    def examine(
        self, checkpoint: pillm.Checkpoint, *, student: dict[str, Any] | None = None, prove: bool = False
    ) -> Iterator[pillm.Finding]:
        """Yield what would stop an export: of the architecture, tokenizer, template, weights and quantisations.

        With `prove` the tokenizer is converted and tried on the built-in strings, which takes some seconds.
        """
        from pillm_llamacpp.gates.examination import examine_folder

        yield from examine_folder(self, checkpoint, student=student, prove=prove)

    def export(self, checkpoint: pillm.Checkpoint, out: Path, progress: pillm.Progress) -> Iterator[pillm.ModelFile]:
        """Write one GGUF per quantisation into `out`, each whole or not at all, and yield it when it is proved.

        Raises MissingDependency where the converter is not installed, DataError where the folder is not a model that
        llama.cpp knows, BackendError where token ids or logits differ, StorageError where the disk is full.
        """
        from pillm_llamacpp.gates.checks import check

        self.check()
        findings = check(checkpoint, source.require(), self.quants)
        stem = self.file_name or _slug(checkpoint.label)
        work, keep = out / ".gguf-work", False
        try:
            out.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            yield from self._made(checkpoint, findings, stem, work, progress)
        except (pillm.PillmError, OSError) as error:
            told, keep = error if isinstance(error, pillm.PillmError) else _storage(out, error), self.keep_work
            if keep:
                told.args = (f"{told} The intermediate files are kept in {work} until the next export.",)
            if told is error:
                raise
            raise told from error
        finally:
            if not keep:
                shutil.rmtree(work, ignore_errors=True)

    def _made(
        self, checkpoint: pillm.Checkpoint, findings: Findings, stem: str, work: Path, progress: pillm.Progress
    ) -> Iterator[pillm.ModelFile]:
        from pillm_llamacpp.converting.assets import copy_assets
        from pillm_llamacpp.quantizing.quantization import publish, types_of

        base = table.base_of(self.quants)
        full = work / f"{stem}-{base}.gguf"
        proof = self._converted(checkpoint, findings, full, progress)
        for quant in self.quants:
            target = work.parent / f"{stem}-{quant}.gguf"
            if quant == base:
                part, near = target.with_name(target.name + ".part"), proof.agreement
                try:
                    types = types_of(full)
                    _copy(full, part)
                    publish(part, target)
                finally:
                    part.unlink(missing_ok=True)
            else:
                types, near = self._quantized(full, target, quant, proof, progress)
            yield pillm.ModelFile.of(target, quant, parity=proof.parity, types=types, agreement=near)
        if self.assets:
            copy_assets(checkpoint.path, work.parent)

    def _quantized(
        self, full: Path, target: Path, quant: str, proof: Proof, progress: pillm.Progress
    ) -> tuple[dict[str, int], pillm.Agreement]:
        from pillm_llamacpp.gates import fallbacks, trial
        from pillm_llamacpp.quantizing.quantization import quantize

        found: list[pillm.Agreement] = []

        def accept(part: Path, fell: list[list[str]]) -> None:
            fallbacks.judge(self.fallback, quant, fell, progress)
            found.append(trial.attempt(part, proof, threads=self._threads_for(part)))

        cores = self.threads or os.cpu_count() or 1
        types = quantize(full, target, quant, threads=cores, progress=progress, accept=accept)
        progress.note(f"{quant}: {', '.join(f'{count} x {kind}' for kind, count in types.items())}; {found[0]}.")
        return types, found[0]

    def _threads_for(self, file: Path) -> int:
        from pillm_llamacpp.inference.session import Settings

        return Settings(threads=self.threads).threads_for(file.stat().st_size)

    def _converted(self, checkpoint: pillm.Checkpoint, findings: Findings, full: Path, progress: pillm.Progress) -> Proof:
        from pillm_llamacpp.converting import conversion as convert
        from pillm_llamacpp.gates import logits, parity, proving

        rows, day = parity.rows_of(checkpoint, findings.pre), parity.day_of(checkpoint)
        if rows[0].ids is None:
            progress.note(
                f"{checkpoint.label} carries no probes of its training; parity is checked on {len(rows)} built-in strings, "
                "between the reloaded tokenizer and llama.cpp only."
            )
        progress.start(None, unit="steps", message=f"converting {checkpoint.label} to {full.name}")
        conversion = convert.Conversion(
            tree=str(source.require()), model=str(checkpoint.path.resolve()), outfile=str(full),
            outtype=full.stem.rpartition("-")[2].lower(), pre=self.pre, derived=findings.pre, stops=findings.stops,
            keys=_keys(checkpoint), metadata=self._metadata(full), day=day,
            rows=logits.ROWS, tokens=logits.TOKENS, encoder=findings.encoder,
        )  # fmt: skip
        made = convert.run(conversion, map(parity.asked, rows), full.parent, progress)
        threads = self._threads_for(full)
        return proving.prove(full, rows, made, findings, day=day, threads=threads, progress=progress)

    def _metadata(self, full: Path) -> dict[str, str]:
        told = {"general.name": self.title or full.stem.rpartition("-")[0]}
        return {**told, "general.license": self.license} if self.license else told


def _keys(checkpoint: pillm.Checkpoint) -> dict[str, str]:
    keys = {"pillm.version": pillm.__version__, "pillm.source": source.IDENTITY}
    tokenizer = checkpoint.path / "tokenizer.json"
    if tokenizer.is_file():
        keys["pillm.tokenizer"] = pillm.tokenizer_hash(tokenizer)
    contract = checkpoint.contract
    return {**keys, "pillm.contract": str(contract["hash"])} if contract.get("hash") else keys


def _slug(label: str) -> str:
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-._")[:96]
    return slug or "model"


def _copy(full: Path, part: Path) -> None:
    """Put the file at `part` without copying its bytes where the file system can."""
    part.unlink(missing_ok=True)
    try:
        os.link(full, part)
    except OSError:
        shutil.copyfile(full, part)


def _storage(out: Path, error: OSError) -> pillm.StorageError:
    return pillm.StorageError(
        f"{out} could not be written: {error.strerror or error}. Nothing half-written was left under a final name; "
        "free some space, or choose another folder, and run the same command again."
    )
