"""What safetensors files say that they hold, read from their headers alone."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, NamedTuple

import pillm

if TYPE_CHECKING:
    from pathlib import Path

MOST_HEADER = 100 * 1024 * 1024


class Stored(NamedTuple):
    """One tensor: its type as safetensors names it (BF16, F16, F32, ...), and its shape."""

    dtype: str
    shape: tuple[int, ...]


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Return every tensor of a folder's *.safetensors by name; raise DataError where a header cannot be read."""
    found: dict[str, Stored] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= _of(path)
    return found


def _of(path: Path) -> dict[str, Stored]:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MOST_HEADER:
                raise ValueError(f"its header claims {length} bytes")
            header = json.loads(file.read(length))
        return {name: Stored(str(told["dtype"]), tuple(map(int, told["shape"])))
                for name, told in header.items() if name != "__metadata__"}  # fmt: skip
    except (OSError, ValueError, struct.error, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise pillm.DataError(f"{path} is no readable safetensors file ({error}). Save or copy it again.") from error
