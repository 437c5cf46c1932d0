"""Read the header of a GGUF file: its metadata and what tensors it holds. Bounded: a hostile file is refused, never obeyed.

Counts are limited, every length is checked against the bytes that are there, and no tensor data is read. Source of the
format: `docs/gguf.md` of ggml, versions 2 and 3, little endian.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pillm.devices.quants import BLOCKS, TYPE_OF_ID
from pillm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

MAX_TENSORS = 100_000
MAX_KEYS = 10_000
MAX_NAME = 512
MAX_TEXT = 16 * 1024 * 1024
MAX_ITEMS = 16 * 1024 * 1024
MAX_WEIGHTS = 1 << 48
KEPT_ITEMS = 4096
"""Longer arrays (vocabularies) are stepped over; their length alone is kept."""

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


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


class _Malformed(Exception):
    pass


class _Cursor:
    """Reads forwards in mapped bytes and never past their end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0
        self.end = len(data)

    def number(self, format_: str) -> int | float | bool:
        size = struct.calcsize(format_)
        start = self.take(size)
        value: int | float | bool = struct.unpack_from(format_, self.data, start)[0]
        return value

    def count(self, limit: int, what: str) -> int:
        value = int(self.number("<Q"))
        if value > limit:
            raise _Malformed(f"{value} {what}, more than {limit}")
        return value

    def text(self, limit: int) -> str:
        length = self.count(limit, "bytes of text")
        start = self.take(length)
        return self.data[start : start + length].decode("utf-8", "replace")

    def take(self, size: int) -> int:
        start = self.at
        if size > self.end - start:
            raise _Malformed(f"it ends at byte {self.end}, within its header")
        self.at = start + size
        return start


def read_header(path: Path, texts: Collection[str] = ()) -> GGUFHeader:
    """Read the header of a GGUF file; raise DataError where it is not one, is cut off or breaks a limit.

    `texts` are the keys of arrays of texts, a vocabulary say, that are wanted and not stepped over.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file. Give a .gguf file.")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _header(_Cursor(data), texts)
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise DataError(f"{path} cannot be read as a GGUF file ({error}).") from error
    except _Malformed as reason:
        raise DataError(f"{path} is not a sound GGUF file: {reason}. Export it again or download it again.") from reason


def _header(cursor: _Cursor, wanted: Collection[str]) -> GGUFHeader:
    cursor.take(4)
    if cursor.data[:4] != b"GGUF":
        raise _Malformed("it does not begin with 'GGUF'")
    version = int(cursor.number("<I"))
    if version not in (2, 3):
        raise _Malformed("it is big endian" if version in (2 << 24, 3 << 24) else f"version {version}; 2 and 3 are known")
    tensor_count = cursor.count(MAX_TENSORS, "tensors")
    key_count = cursor.count(MAX_KEYS, "metadata keys")
    metadata: dict[str, Value] = {}
    texts: dict[str, tuple[str, ...]] = {}
    for _ in range(key_count):
        key = cursor.text(MAX_NAME)
        if key in metadata:
            raise _Malformed(f"the key {key!r} stands twice")
        start = cursor.at
        metadata[key] = _value(cursor)
        if key in wanted and isinstance(metadata[key], Skipped):
            texts[key] = _texts(cursor, start)
    infos = [_tensor(cursor) for _ in range(tensor_count)]
    _check_places(cursor, metadata, infos)
    tensors = tuple(one for one, _ in infos)
    return GGUFHeader(version=version, metadata=metadata, tensors=tensors, file_bytes=cursor.end, texts=texts)


def _value(cursor: _Cursor) -> Value:
    kind = int(cursor.number("<I"))
    if kind in _SCALARS:
        return cursor.number(_SCALARS[kind])
    if kind == _STRING:
        return cursor.text(MAX_TEXT)
    if kind != _ARRAY:
        raise _Malformed(f"a metadata value has the unknown type {kind}")
    return _array(cursor)


def _array(cursor: _Cursor) -> Value:
    kind = int(cursor.number("<I"))
    items = cursor.count(MAX_ITEMS, "items in an array")
    if kind == _STRING:
        _skip_texts(cursor, items)
        return Skipped(items)
    if kind not in _SCALARS:
        raise _Malformed(f"an array holds items of the type {kind}")
    format_ = _SCALARS[kind]
    start = cursor.take(items * struct.calcsize(format_))
    if items > KEPT_ITEMS:
        return Skipped(items)
    return struct.unpack_from(f"<{items}{format_[1]}", cursor.data, start)


def _skip_texts(cursor: _Cursor, items: int) -> None:
    """Step over texts; this loop sees every token of a vocabulary, so it is kept bare."""
    data, at, end = cursor.data, cursor.at, cursor.end
    number: Callable[[mmap.mmap, int], tuple[int]] = struct.Struct("<Q").unpack_from
    for _ in range(items):
        if at + 8 > end:
            raise _Malformed("it ends within an array of texts")
        at += 8 + number(data, at)[0]
    if at > end:
        raise _Malformed("a text reaches past its end")
    cursor.at = at


def _texts(cursor: _Cursor, start: int) -> tuple[str, ...]:
    """Return the texts of an array that was stepped over, and so is known to lie within the file; other items give none."""
    kind, end = struct.unpack_from("<I", cursor.data, start + 4)[0], cursor.at
    if kind != _STRING:
        return ()
    cursor.at = start + 16
    found = []
    while cursor.at < end:
        found.append(cursor.text(MAX_TEXT))
    return tuple(found)


def _tensor(cursor: _Cursor) -> tuple[Tensor, int]:
    name = cursor.text(MAX_NAME)
    dimensions = int(cursor.number("<I"))
    if not 1 <= dimensions <= 4:
        raise _Malformed(f"tensor {name!r} has {dimensions} dimensions")
    shape = tuple(cursor.count(MAX_WEIGHTS, f"weights along a side of {name!r}") for _ in range(dimensions))
    id_ = int(cursor.number("<I"))
    if id_ not in TYPE_OF_ID:
        raise _Malformed(f"tensor {name!r} has the unknown storage type {id_}")
    tensor = Tensor(name=name, shape=shape, type=TYPE_OF_ID[id_])
    if not 0 < tensor.weights <= MAX_WEIGHTS:
        raise _Malformed(f"tensor {name!r} has {tensor.weights} weights")
    if shape[0] % BLOCKS[tensor.type][0]:
        raise _Malformed(f"rows of {name!r} ({shape[0]} weights) do not divide into blocks of {tensor.type}")
    return tensor, int(cursor.number("<Q"))


def _check_places(cursor: _Cursor, metadata: dict[str, Value], infos: list[tuple[Tensor, int]]) -> None:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or isinstance(alignment, bool) or not 0 < alignment <= 1 << 20:
        raise _Malformed(f"an alignment of {alignment!r}")
    if len({one.name for one, _ in infos}) != len(infos):
        raise _Malformed("two tensors share a name")
    base = -(-cursor.at // alignment) * alignment
    for tensor, offset in infos:
        if offset % alignment or base + offset + tensor.bytes > cursor.end:
            raise _Malformed(f"the data of {tensor.name!r} lies outside of its {cursor.end} bytes; it may be cut off")
