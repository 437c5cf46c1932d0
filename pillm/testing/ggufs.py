"""Write small GGUF files by hand, sound ones and others, for tests of whatever reads them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pillm.intake.gguf import ARRAY, BOOL, FLOAT32, INT32, SCALARS, STRING, UINT32


class Typed:
    """A value with a type of its own: `Typed(4, 32)`, or an array `Typed(9, (5, [1, 2]))`; a raw one is bytes."""

    def __init__(self, kind: int, value: Any) -> None:
        self.kind, self.value = kind, value


def text(value: str | bytes) -> bytes:
    """Return a text as a GGUF file holds it: its length, then its bytes."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def encoded(said: Any) -> bytes:
    """Return a value with its type: bool, int (UINT32), float, str, a list of texts or of numbers, or what is Typed."""
    if isinstance(said, bytes):
        return said
    if isinstance(said, Typed):
        return struct.pack("<I", said.kind) + _typed(said)
    if isinstance(said, bool):
        return struct.pack("<I?", BOOL, said)
    if isinstance(said, int):
        return struct.pack("<II", UINT32, said)
    if isinstance(said, float):
        return struct.pack("<If", FLOAT32, said)
    if isinstance(said, str):
        return struct.pack("<I", STRING) + text(said)
    if said and isinstance(said[0], (str, bytes)):
        return struct.pack("<IIQ", ARRAY, STRING, len(said)) + b"".join(text(one) for one in said)
    kind = FLOAT32 if said and isinstance(said[0], float) else INT32
    return struct.pack("<IIQ", ARRAY, kind, len(said)) + struct.pack(f"<{len(said)}{SCALARS[kind]}", *said)


def _typed(said: Typed) -> bytes:
    if said.kind == ARRAY:
        kind, items = said.value
        return struct.pack("<IQ", kind, len(items)) + struct.pack(f"<{len(items)}{SCALARS[kind]}", *items)
    if said.kind == STRING:
        return text(said.value)
    return struct.pack(f"<{SCALARS[said.kind]}", said.value)


def gguf(
    metadata: Mapping[str, Any] | Sequence[tuple[str | bytes, Any]],
    tensors: Sequence[tuple[str | bytes, tuple[int, ...], int, int]] = (),
    data: int | bytes = 0,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """Return a GGUF file: its keys, its tensors (name, shape, number of the type, offset) and so many bytes of data.

    `counts` replaces the numbers of tensors and keys that the header claims.
    """
    pairs = list(metadata.items()) if isinstance(metadata, Mapping) else list(metadata)
    claimed = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, *claimed)
    head += b"".join(text(key) + encoded(said) for key, said in pairs)
    for name, shape, type_, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, type_, offset)
    return head + bytes(-len(head) % 32) + (bytes(data) if isinstance(data, int) else data)
