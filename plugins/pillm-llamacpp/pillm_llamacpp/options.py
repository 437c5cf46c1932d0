"""The options of the exporter `gguf`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.choosing.options import Choosing
from pillm_llamacpp.quantizing import quants as table
from pillm_llamacpp.quantizing.fallbacks import Rule
from pillm_llamacpp.quantizing.quants import AUTO, OFF

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class GGUFOptions(Choosing, pillm.Exporter):
    """What is made of a checkpoint, and how; the export itself is begun by `GGUFExporter`."""

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
