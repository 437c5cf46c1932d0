"""Read the head of a GGUF file: its metadata and what tensors it holds. Bounded: a hostile file is refused, never obeyed.

Every count and length is held against a limit and against the bytes that are there before anything is read or made, and no
tensor data is read. Source of the format: `docs/gguf.md` of ggml, versions 2 and 3, little endian, and `ggml/src/gguf.cpp`.
"""

from __future__ import annotations

import struct
from typing import IO, Final, NamedTuple

from pillm.intake.faults import Fault, shown
from pillm.intake.ggmltypes import TYPES

MAX_HEAD: Final = 256 * 1024 * 1024
MAX_TENSORS: Final = 100_000
MAX_KEYS: Final = 10_000
MAX_KEY: Final = 1024
MAX_NAME: Final = 127
MAX_TEXT: Final = 64 * 1024 * 1024
MAX_ITEMS: Final = 16 * 1024 * 1024
MAX_TEXTS: Final = 4 * 1024 * 1024
MAX_WEIGHTS: Final = 1 << 48
MAX_ALIGNMENT: Final = 1 << 16

BOOL, STRING, ARRAY, UINT32, INT32, FLOAT32 = 7, 8, 9, 4, 5, 6
SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_SIZES: Final = {kind: struct.calcsize(f"<{form}") for kind, form in SCALARS.items()}
_LENGTH: Final = struct.Struct("<Q")
_WORD: Final = struct.Struct("<I")
_LEAST_KEY: Final = 8 + 1 + 4 + 1
_LEAST_TENSOR: Final = 8 + 1 + 4 + 8 + 4 + 8
_CHUNK: Final = 1 << 16


class Entry(NamedTuple):
    """A value of the metadata: a scalar, or an array whose bytes or texts are kept as they stand in the file."""

    kind: int
    at: int
    value: int | float | bool | str | None = None
    items: int = 0
    item_kind: int = -1
    raw: bytes = b""
    texts: tuple[bytes, ...] = ()

    def numbers(self) -> tuple[int | float | bool, ...]:
        """Return the items of an array of numbers."""
        return struct.unpack(f"<{self.items}{SCALARS[self.item_kind]}", self.raw)


class Stored(NamedTuple):
    """A tensor: name, shape (row length first, as ggml counts), number of its storage type, offset and bytes of its data."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    bytes: int
    at: int


class Head(NamedTuple):
    """The head of a GGUF file; `spare` are the bytes after the last tensor's padding."""

    version: int
    metadata: dict[str, Entry]
    tensors: tuple[Stored, ...]
    size: int
    spare: int


def read_head(file: IO[bytes], size: int) -> Head:
    """Read the head of a GGUF file of `size` bytes; raise Fault where it is none, is cut off or breaks a limit."""
    return _Reader(file, size).head()


class _Reader:
    """Reads forwards, in growing pieces, and never past the end of the file or of what a head may take."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.data = b""
        self.at = 0
        self.size = size

    def need(self, end: int) -> None:
        """Have the file's first `end` bytes at hand."""
        if end > self.size:
            raise Fault(f"it ends at byte {self.size}, within its header", self.at, broken=True)
        if end > MAX_HEAD:
            raise Fault(f"its header is longer than {MAX_HEAD >> 20} MiB", self.at)
        while len(self.data) < end:
            more = self._file.read(max(end - len(self.data), len(self.data), _CHUNK))
            if not more:
                raise Fault("it became shorter while it was read", self.at, broken=True)
            self.data += more

    def take(self, size: int) -> int:
        """Step over `size` bytes and return where they begin."""
        start = self.at
        self.need(start + size)
        self.at = start + size
        return start

    def word(self) -> int:
        start = self.take(4)
        number: int = _WORD.unpack_from(self.data, start)[0]
        return number

    def count(self, most: int, what: str) -> int:
        start = self.take(8)
        number: int = _LENGTH.unpack_from(self.data, start)[0]
        if number > most:
            raise Fault(f"it claims {number} {what}, more than {most}", start)
        return number

    def text(self, most: int, what: str) -> str:
        start = self.at
        length = self.count(most, f"bytes of {what}")
        place = self.take(length)
        return _utf8(self.data[place : place + length], start, what)

    def head(self) -> Head:
        start = self.take(4)
        if self.data[start:4] != b"GGUF":
            raise Fault(f"it is not a GGUF file: it does not begin with 'GGUF' but with {shown(self.data[:4])}", 0, broken=True)
        version = self.word()
        if version not in (2, 3):
            other = version in (2 << 24, 3 << 24)
            said = "it is big endian, for machines of the other byte order" if other else f"it has version {version}"
            raise Fault(f"{said}; versions 2 and 3, little endian, can be read", 4, broken=True)
        tensors = self.count(MAX_TENSORS, "tensors")
        keys = self.count(MAX_KEYS, "metadata keys")
        if self.at + keys * _LEAST_KEY + tensors * _LEAST_TENSOR > self.size:
            raise Fault(f"{self.size} bytes are too few for its {tensors} tensors and {keys} keys", 8, broken=True)
        metadata = self._metadata(keys)
        alignment = _alignment(metadata)
        found, names = [], set()
        for _ in range(tensors):
            one = self._tensor()
            if one.name in names:
                raise Fault(f"two tensors are called {shown(one.name)}", one.at)
            names.add(one.name)
            found.append(one)
        spare = _check_places(found, self.at, alignment, self.size)
        return Head(version, metadata, tuple(found), self.size, spare)

    def _metadata(self, keys: int) -> dict[str, Entry]:
        metadata: dict[str, Entry] = {}
        for _ in range(keys):
            at = self.at
            key = self.text(MAX_KEY, "a key")
            if not key or not key.isprintable():
                raise Fault(f"the key {shown(key)} is empty or has characters that nobody can see", at)
            if key in metadata:
                raise Fault(f"the key {shown(key)} stands twice", at)
            metadata[key] = self._entry(key)
        return metadata

    def _entry(self, key: str) -> Entry:
        at = self.at
        kind = self.word()
        if kind in SCALARS:
            return Entry(kind, at, self._scalar(kind, key))
        if kind == STRING:
            return Entry(kind, at, self.text(MAX_TEXT, f"text in {shown(key)}"))
        if kind != ARRAY:
            raise Fault(f"the value of {shown(key)} has the unknown type {kind}", at)
        item_kind = self.word()
        if item_kind == STRING:
            items = self.count(MAX_TEXTS, f"texts in {shown(key)}")
            return Entry(kind, at, items=items, item_kind=item_kind, texts=self._texts(items, key))
        if item_kind not in SCALARS:
            nested = "arrays within an array" if item_kind == ARRAY else f"items of the unknown type {item_kind}"
            raise Fault(f"{shown(key)} holds {nested}", at)
        items = self.count(MAX_ITEMS, f"items in {shown(key)}")
        start = self.take(items * _SIZES[item_kind])
        return Entry(kind, at, items=items, item_kind=item_kind, raw=self.data[start : self.at])

    def _scalar(self, kind: int, key: str) -> int | float | bool:
        start = self.take(_SIZES[kind])
        if kind == BOOL and self.data[start] > 1:
            raise Fault(f"{shown(key)} is neither true nor false", start)
        value: int | float | bool = struct.unpack_from(f"<{SCALARS[kind]}", self.data, start)[0]
        return value

    def _texts(self, items: int, key: str) -> tuple[bytes, ...]:
        """Return texts; this loop sees every token of a vocabulary, so it is kept bare."""
        self.need(self.at + 8 * items)
        data, at, first = self.data, self.at, self.at
        length = _LENGTH.unpack_from
        found = []
        for _ in range(items):
            start = at + 8
            if start > len(data):
                self.need(start)
                data = self.data
            at = start + length(data, at)[0]
            if at > len(data):
                if at - start > MAX_TEXT:
                    raise Fault(f"a text in {shown(key)} claims {at - start} bytes, more than {MAX_TEXT}", start - 8)
                self.need(at)
                data = self.data
            found.append(data[start:at])
        self.at = at
        # one character of one byte between them: no text can borrow a byte from the next
        _utf8(b"\n".join(found), first, f"the texts in {shown(key)}")
        return tuple(found)

    def _tensor(self) -> Stored:
        at = self.at
        name = self.text(MAX_NAME, "a tensor's name")
        if not name or not name.isprintable():
            raise Fault(f"a tensor is called {shown(name)}", at)
        dimensions = self.word()
        if not 1 <= dimensions <= 4:
            raise Fault(f"tensor {shown(name)} has {dimensions} dimensions", at)
        shape = tuple(self.count(MAX_WEIGHTS, f"weights along a side of {shown(name)}") for _ in range(dimensions))
        type_ = self.word()
        if type_ not in TYPES:
            raise Fault(f"tensor {shown(name)} has the unknown storage type {type_}", at)
        weights = 1
        for side in shape:
            weights *= side
        if not 0 < weights <= MAX_WEIGHTS:
            raise Fault(f"tensor {shown(name)} has {weights} weights", at)
        known, block, size = TYPES[type_]
        if shape[0] % block:
            raise Fault(f"rows of {shown(name)} ({shape[0]} weights) do not divide into blocks of {known}", at)
        offset: int = _LENGTH.unpack_from(self.data, self.take(8))[0]
        return Stored(name, shape, type_, offset, weights // block * size, at)


def _utf8(raw: bytes, at: int, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Fault(f"{what}: not UTF-8 ({error.reason})", at) from None


def _alignment(metadata: dict[str, Entry]) -> int:
    entry = metadata.get("general.alignment")
    if entry is None:
        return 32
    value = entry.value
    if entry.kind != UINT32 or not isinstance(value, int) or not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
        raise Fault(f"an alignment of {shown(value)}; it is a power of two up to {MAX_ALIGNMENT}, as UINT32", entry.at)
    return value


def _check_places(tensors: list[Stored], end: int, alignment: int, size: int) -> int:
    """Refuse data that overlaps, leaves holes or lies outside; return how many bytes follow the last tensor."""
    base = -(-end // alignment) * alignment
    expected = last = 0
    for one in tensors:
        if one.offset != expected:
            how = "overlaps the tensor before it" if one.offset < expected else "leaves a hole before it"
            raise Fault(f"the data of {shown(one.name)} is at offset {one.offset}, not {expected}: it {how}", one.at)
        last = base + one.offset + one.bytes
        if last > size:
            raise Fault(
                f"the data of {shown(one.name)} lies outside of its {size} bytes; it may be cut off", one.at, broken=True
            )
        expected += -(-one.bytes // alignment) * alignment
    return max(0, size - base - expected) if tensors else 0
