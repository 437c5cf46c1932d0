"""What a GGUF file says about itself: its metadata and its tensors, as the planner needs them.

The bytes are read by `pillm.intake.gguf`, within its limits; this is the shape that the rest of pillm knows them by.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from pillm.devices.quants import BLOCKS, TYPE_OF_ID
from pillm.errors import DataError
from pillm.intake.faults import Fault
from pillm.intake.gguf import ARRAY, SCALARS, STRING, Entry, read_head
from pillm.intake.inspection import open_regular

KEPT_ITEMS = 4096
"""Longer arrays (vocabularies) are stepped over; their length alone is kept."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An array that was stepped over: how many items it has."""

    items: int


Value: TypeAlias = int | float | bool | str | tuple[int | float | bool, ...] | Skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor's name, its shape (row length first, as ggml counts) and its storage type."""

    name: str
    shape: tuple[int, ...]
    type: str

    @property
    def weights(self) -> int:
        """Return how many weights it has."""
        count = 1
        for side in self.shape:
            count *= side
        return count

    @property
    def bytes(self) -> int:
        """Return how many bytes its data takes."""
        per_block, size = BLOCKS[self.type]
        return self.weights // per_block * size


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFHeader:
    """What a GGUF file says about itself."""

    version: int
    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]
    file_bytes: int
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Arrays of texts that were asked for, by key."""


def read_header(path: Path, texts: Collection[str] = ()) -> GGUFHeader:
    """Read the header of a GGUF file; raise DataError where it is not one, is cut off or breaks a limit.

    `texts` are the keys of arrays of texts, a vocabulary say, that are wanted and not stepped over.
    """
    try:
        with open_regular(path) as file:
            head = read_head(file, os.fstat(file.fileno()).st_size)
    except (OSError, Fault) as error:
        raise DataError(f"{path} is not a sound GGUF file: {error}. Export it again or download it again.") from error
    return GGUFHeader(
        version=head.version,
        metadata={key: _value(entry) for key, entry in head.metadata.items()},
        tensors=tuple(Tensor(name=one.name, shape=one.shape, type=TYPE_OF_ID[one.type]) for one in head.tensors),
        file_bytes=head.size,
        texts={
            key: tuple(text.decode("utf-8") for text in entry.texts)
            for key, entry in head.metadata.items()
            if key in texts and entry.item_kind == STRING
        },
    )


def _value(entry: Entry) -> Value:
    if entry.kind != ARRAY:
        return entry.value if entry.value is not None else 0
    return entry.numbers() if entry.item_kind in SCALARS and entry.items <= KEPT_ITEMS else Skipped(entry.items)
