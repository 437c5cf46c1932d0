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
from pillm_llamacpp.quantizing import quants as table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillm_llamacpp.gates.checks import Findings

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
    file_name: str | None = Field(
        None, description="Stem of the files' names; none: base, size, the checkpoint's name and version."
    )
    title: str | None = Field(None, description="The model's name in the file's metadata; none: made of the same.")
    license: str | None = Field(None, description="The model's licence, as an SPDX id; none: the run's, else a free base's.")
    release: str = Field("v1.0", pattern=r"v\d+(\.\d+)*", description="The model's version, in names and metadata.")
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

    def export(self, checkpoint: pillm.Checkpoint, out: Path, progress: pillm.Progress) -> Iterator[pillm.ModelFile]:
        """Write one GGUF per quantisation into `out`, each whole or not at all, and yield it when it is proved.

        Raises MissingDependency where the converter is not installed, DataError where the folder is not a model that
        llama.cpp knows, BackendError where the token ids differ anywhere, StorageError where the disk is full.
        """
        from pillm_llamacpp.beside import write_beside
        from pillm_llamacpp.gates.checks import check

        self.check()
        findings = check(checkpoint, source.require(), self.quants)
        card = self._card(checkpoint)
        stem = self.file_name or card.stem
        work = out / ".gguf-work"
        try:
            out.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            models: list[pillm.ModelFile] = []
            for model in self._made(checkpoint, findings, stem, work, progress):
                models.append(model)
                yield model
            write_beside(out, checkpoint, card, models, progress)
        except OSError as error:
            raise _storage(out, error) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _made(
        self, checkpoint: pillm.Checkpoint, findings: Findings, stem: str, work: Path, progress: pillm.Progress
    ) -> Iterator[pillm.ModelFile]:
        from pillm_llamacpp.quantizing.quantization import publish, quantize, types_of

        base = table.base_of(self.quants)
        full = work / f"{stem}-{base}.gguf"
        parity = self._converted(checkpoint, findings, full, progress)
        for quant in self.quants:
            target = work.parent / f"{stem}-{quant}.gguf"
            if quant == base:
                part = target.with_name(target.name + ".part")
                try:
                    types = types_of(full)
                    _copy(full, part)
                    publish(part, target)
                finally:
                    part.unlink(missing_ok=True)
            else:
                types = quantize(full, target, quant, threads=self.threads or os.cpu_count() or 1, progress=progress)
            yield pillm.ModelFile.of(target, quant, parity=parity, types=types)

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
            keys={**_keys(checkpoint), **pillm.metadata_of(self._card(checkpoint))}, metadata={}, day=day,
            rows=weights.ROWS, tokens=weights.TOKENS,
        )  # fmt: skip
        probes = ({"messages": row.messages, "text": row.text, "tools": row.tools} for row in rows)
        made = convert.run(conversion, probes, full.parent, progress)
        proved = parity.prove(full, rows, made.encoded, findings.stops, day)
        threads = Settings(threads=self.threads).threads_for(full.stat().st_size)
        weights.compare(full, made.predicted, threads=threads, progress=progress)
        progress.note(f"parity: {proved.rows} conversations, no difference.")
        return proved

    def _card(self, checkpoint: pillm.Checkpoint) -> pillm.Card:
        return pillm.card_of(checkpoint, version=self.release, license=self.license, title=self.title)


def _keys(checkpoint: pillm.Checkpoint) -> dict[str, str]:
    keys = {"pillm.version": pillm.__version__, "pillm.source": source.IDENTITY}
    tokenizer = checkpoint.path / "tokenizer.json"
    if tokenizer.is_file():
        keys["pillm.tokenizer"] = pillm.tokenizer_hash(tokenizer)
    contract = checkpoint.contract
    return {**keys, "pillm.contract": str(contract["hash"])} if contract.get("hash") else keys


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
