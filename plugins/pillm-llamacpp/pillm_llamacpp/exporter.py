"""The exporter `gguf`: convert once, prove parity, then quantise."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.choosing.options import Choosing
from pillm_llamacpp.quantizing import quants as table
from pillm_llamacpp.quantizing.quants import AUTO, OFF

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillm_llamacpp.gates.checks import Findings

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class GGUFExporter(Choosing, pillm.Exporter):
    """Packs a checkpoint into GGUF files, one per quantisation, proved token for token against its training."""

    name: ClassVar[str] = "gguf"
    writes: ClassVar[frozenset[str]] = frozenset({"gguf"})

    quants: tuple[str, ...] = Field(
        ("F16", "Q8_0", "Q4_K_M", "IQ4_NL"), min_length=1, description="llama.cpp's quantisations to make; auto: chosen."
    )
    pre: str | None = Field(
        None, description="llama.cpp's pre-tokenizer; none: derived from tokenizer.json. The parity gate judges it."
    )
    file_name: str | None = Field(None, description="Stem of the files' names; none: the checkpoint's name.")
    title: str | None = Field(None, description="The model's name in the file's metadata; none: the stem.")
    license: str | None = Field(None, description="The model's licence in the file's metadata, as an SPDX id.")
    imatrix: str = Field(
        AUTO,
        description="auto: an importance matrix from the calibration texts, where it helps; off; or a file of llama-imatrix.",
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
        if [name.lower() for name in names] == [AUTO]:
            return (AUTO,)
        return tuple(dict.fromkeys(table.canonical(name) for name in names))

    @field_validator("imatrix", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        return OFF if value is False else value  # YAML reads a bare off as false

    @field_validator("file_name")
    @classmethod
    def _safe_name(cls, value: str | None) -> str | None:
        if value is not None and not _SLUG.fullmatch(value):
            raise ValueError("a file name's stem is made of letters, digits, dots, dashes and underscores")
        return value

    @model_validator(mode="after")
    def _enough_for_the_quants(self) -> Self:
        if self.imatrix == OFF and (reason := table.needing_imatrix(self.quants)):
            raise ValueError(f"{reason}. Leave imatrix at {AUTO!r}, or give it a file")
        return self

    def identity(self) -> dict[str, Any]:
        """Return the options and the source that the files are made with."""
        file = Path(self.imatrix)
        weights = {"imatrix": pillm.sha256_file(file)} if self.imatrix not in (AUTO, OFF) and file.is_file() else {}
        return {**super().identity(), "source": source.IDENTITY, **weights}

    def check(self) -> None:
        """Raise MissingDependency where the converter, or what it needs, is not installed."""
        from pillm_llamacpp.gates.checks import check_tools

        source.require()
        check_tools()

    def export(self, checkpoint: pillm.Checkpoint, out: Path, progress: pillm.Progress) -> Iterator[pillm.ModelFile]:
        """Write one GGUF per quantisation into `out`, each whole or not at all, and yield it when it is proved.

        Raises MissingDependency where the converter is not installed, DataError where the folder is not a model that
        llama.cpp knows, BackendError where the token ids differ anywhere, StorageError where the disk is full.
        """
        from pillm_llamacpp.choosing import making
        from pillm_llamacpp.gates.checks import check
        from pillm_llamacpp.measuring.measures import check_imatrix

        self.check()
        findings = check(checkpoint, source.require(), self.quants)
        check_imatrix(self.imatrix, self.quants, checkpoint)
        if self.chooses:
            making.check(self, checkpoint)
        stem = self.file_name or _slug(checkpoint.label)
        work = out / ".gguf-work"
        try:
            out.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            yield from self._made(checkpoint, findings, stem, work, progress)
        except OSError as error:
            raise _storage(out, error) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _made(
        self, checkpoint: pillm.Checkpoint, findings: Findings, stem: str, work: Path, progress: pillm.Progress
    ) -> Iterator[pillm.ModelFile]:
        from pillm_llamacpp.choosing import making
        from pillm_llamacpp.inference.session import Settings
        from pillm_llamacpp.measuring.measures import Measures
        from pillm_llamacpp.quantizing.quantization import publish, types_of

        base = table.base_of(self.quants)
        full = work / f"{stem}-{base}.gguf"
        parity = self._converted(checkpoint, findings, full, progress)
        readers = Settings(threads=self.threads).threads_for(full.stat().st_size)
        measures = Measures(self.threads or os.cpu_count() or 1, readers, progress, work)
        if set(self.quants) != {base}:
            measures.prepare(full, checkpoint, option=self.imatrix, quants=self.quants)
        if self.chooses:
            yield from making.chosen(self, checkpoint, full, measures, parity)
        for quant in () if self.chooses else self.quants:
            target = work.parent / f"{stem}-{quant}.gguf"
            if quant == base:
                part = target.with_name(target.name + ".part")
                try:
                    facts: dict[str, Any] = {"types": types_of(full)}
                    _copy(full, part)
                    publish(part, target)
                finally:
                    part.unlink(missing_ok=True)
            else:
                facts = measures.make(full, target, quant)
            yield pillm.ModelFile.of(target, quant, parity=parity, **facts)
        measures.keep(work.parent / f"{stem}.imatrix.gguf")

    def _converted(
        self, checkpoint: pillm.Checkpoint, findings: Findings, full: Path, progress: pillm.Progress
    ) -> pillm.Parity:
        from pillm_llamacpp.converting import conversion as convert
        from pillm_llamacpp.gates import parity, weights
        from pillm_llamacpp.inference.session import Settings

        rows, day = parity.rows_of(checkpoint), parity.day_of(checkpoint)
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
            rows=weights.ROWS, tokens=weights.TOKENS,
        )  # fmt: skip
        probes = ({"messages": row.messages, "text": row.text, "tools": row.tools} for row in rows)
        made = convert.run(conversion, probes, full.parent, progress)
        proved = parity.prove(full, rows, made.encoded, findings.stops, day)
        threads = Settings(threads=self.threads).threads_for(full.stat().st_size)
        weights.compare(full, made.predicted, threads=threads, progress=progress)
        progress.note(f"parity: {proved.rows} conversations, no difference.")
        return proved

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
