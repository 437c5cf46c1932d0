"""The exporter `gguf`: convert once, prove parity, then quantise."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.choosing.options import Choosing
from pillm_llamacpp.gates.fallbacks import Rule
from pillm_llamacpp.quantizing import quants as table
from pillm_llamacpp.quantizing.quants import AUTO, OFF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pillm_llamacpp.packing import Packing
    from pillm_llamacpp.quantizing.finished import Finished

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
    file_name: str | None = Field(
        None, description="Stem of the files' names; none: base, size, the checkpoint's name and version."
    )
    title: str | None = Field(None, description="The model's name in the file's metadata; none: made of the same.")
    license: str | None = Field(None, description="The model's licence, as an SPDX id; none: the run's, else a free base's.")
    release: str = Field("v1.0", pattern=r"v\d+(\.\d+)*", description="The model's version, in names and metadata.")
    base: str | None = Field(None, description="An adapter's base, a folder or a name; none: what its settings name.")
    adapter: Literal["merged", "only"] = Field(
        "merged", description="Of an adapter's folder: the base with it merged in, or `only` the adapter, for `--lora`."
    )
    writer: Literal["auto", "own", "converter"] = Field(
        "auto", description="Who writes the file in full precision: pillm's `own` writer, llama.cpp's `converter`, or `auto`."
    )
    imatrix: str = Field(
        AUTO,
        description="auto: an importance matrix from the calibration texts, where it helps; off; or a file of llama-imatrix.",
    )
    fallback: Rule = Field(
        "warn",
        description="Where rows do not fit a K-quant's blocks of 256 and another type is stored: refuse, warn or allow.",
        json_schema_extra={"key": False},
    )
    logits: Literal["check", "skip"] = Field(
        "check",
        description="Whether what the files compute is compared with the checkpoint; skip: they say that it was not proved.",
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
        if [name.lower() for name in names] == [AUTO]:
            return (AUTO,)
        if AUTO in [name.lower() for name in names]:
            raise ValueError(
                "auto stands alone, since it chooses among all quantisations itself: write quants=auto (with keep=front to "
                "get every file that no other beats), or name the quants without it"
            )
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

    @model_validator(mode="after")
    def _only_what_an_adapter_alone_has(self) -> Self:
        given = {"writer": self.writer != AUTO, "imatrix": self.imatrix not in (AUTO, OFF), "pre": self.pre is not None}
        if self.adapter == "only" and (odd := [name for name, is_given in given.items() if is_given]):
            raise ValueError(
                "an adapter alone has no tokenizer, is stored in no type below Q8_0, and only pillm writes it: leave out "
                f"{odd[0]}"
            )
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

    def examine(
        self, checkpoint: pillm.Checkpoint, *, student: dict[str, Any] | None = None, prove: bool = False
    ) -> Iterator[pillm.Finding]:
        """Yield what would stop an export: of the architecture, tokenizer, template, weights and quantisations.

        With `prove` the tokenizer is converted and tried on the built-in strings, which takes some seconds.
        """
        from pillm_llamacpp.gates.examination import examine_folder

        yield from examine_folder(self, checkpoint, student=student, prove=prove)

    def forecast(self, student: dict[str, Any], rows: int, tokens: int) -> pillm.ExportForecast | None:
        """Return what a choice among quantisations will take; None where the quants are named, or the shape is unusual."""
        if not self.chooses or self.device is None:
            return None
        from pillm_llamacpp.choosing.forecast import foretold

        return foretold(student, pillm.device(self.device), self.probes, (rows, tokens), self.rows)

    def export(self, checkpoint: pillm.Checkpoint, out: Path, progress: pillm.Progress) -> Iterator[pillm.ModelFile]:
        """Write one GGUF per quantisation into `out`, each whole or not at all, and yield it when it is proved.

        Raises MissingDependency where the converter is not installed, DataError where the folder is not a model that
        llama.cpp knows, ConfigError where the memory does not hold the checkpoint, BackendError where token ids or logits
        differ, StorageError where the disk is full.
        """
        from pillm_llamacpp.choosing import picking
        from pillm_llamacpp.gates.checks import check
        from pillm_llamacpp.gates.room import precision
        from pillm_llamacpp.measuring.measures import check_imatrix
        from pillm_llamacpp.packing import Packing
        from pillm_llamacpp.writing.alone import Alone
        from pillm_llamacpp.writing.sources import laid_out

        self.check()
        with laid_out(checkpoint, self.base) as laid:
            for note in laid.notes:
                progress.note(f"{note}.")
            whole = replace(laid.checkpoint, name=checkpoint.label, told=checkpoint.told, origin=checkpoint.origin)
            foreign = (checkpoint.path, laid.base) if laid.adapter else None
            card = pillm.card_of(whole, version=self.release, license=self.license, title=self.title, adapter=foreign)
            findings = check(whole, source.require(), self.quants)
            held = precision(whole.path, whole.config) if self.logits == "check" else None
            if held is None:
                card = replace(card, lineage={**card.lineage, "pillm.logits": "not proved"})
                progress.warn("what the files compute is not compared with the checkpoint (logits=skip), and they say so.")
            if self.adapter == "only":
                card = replace(card, relation="adapter")
                yield from Alone(self, laid, findings, card, out, progress, held).files()
                pillm.write_card(out, card)
                return
            check_imatrix(self.imatrix, self.quants, whole)
            if self.chooses:
                picking.check(self, whole)
            work = out / ".gguf-work"

            def packing(finished: Finished) -> Packing:
                return Packing(self, whole, findings, card, work, progress, finished, laid.adapter, held)

            yield from self._packed(checkpoint, work, packing)

    def _packed(
        self, checkpoint: pillm.Checkpoint, work: Path, packing: Callable[[Finished], Packing]
    ) -> Iterator[pillm.ModelFile]:
        from pillm_llamacpp.quantizing.finished import Finished, state_of

        out, finished = work.parent, None
        try:
            finished = Finished(work, state_of(checkpoint.path, self.parents(checkpoint), self.identity()))
            yield from packing(finished).files()
            shutil.rmtree(work, ignore_errors=True)
        # an interruption leaves all as it is, for the same command to go on with
        except Exception as error:
            told = _storage(out, error) if isinstance(error, OSError) else error
            if self.keep_work and isinstance(told, pillm.PillmError):
                told.args = (f"{told} The intermediate files are kept in {work} until the next export.",)
            elif finished is not None:
                finished.give_up()
            if told is error:
                raise
            raise told from error

    def parents(self, checkpoint: pillm.Checkpoint) -> dict[str, str]:
        """Return the hash of an adapter's base: another base makes other files."""
        from pillm_llamacpp.writing.sources import parents

        return parents(checkpoint, self.base)


def _storage(out: Path, error: OSError) -> pillm.StorageError:
    return pillm.StorageError(
        f"{out} could not be written: {error.strerror or error}. Nothing half-written was left under a final name; "
        "free some space, or choose another folder, and run the same command again."
    )
