"""Read the header of a safetensors file, as strictly as its own library: nothing overlaps, nothing is missing, all adds up.

Source of the format: the README of safetensors; the header is at most 100 MB there too.
"""

from __future__ import annotations

import struct
from typing import IO, Any, Final, NamedTuple

from pillm.intake.faults import Fault, shown
from pillm.intake.jsonfiles import read_json

MAX_HEADER: Final = 100_000_000
MAX_NAME: Final = 1024
MAX_SIDES: Final = 32
MAX_WEIGHTS: Final = 1 << 48
BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16,
    "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip
_ROOMY, _PER_TENSOR = 1 << 20, 4096
"""A header longer than the first, and than the second for each tensor, carries something else than tensors."""


class Placed(NamedTuple):
    """A tensor: its type, its shape and where its data begins and ends after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_tensors(file: IO[bytes], size: int) -> dict[str, Placed]:
    """Return the tensors of a safetensors file of `size` bytes; raise Fault where its own library would not read it."""
    raw = file.read(8)
    if len(raw) < 8:
        raise Fault(f"it has {len(raw)} bytes, fewer than the length of its header", 0, broken=True)
    (length,) = struct.unpack("<Q", raw)
    if length > MAX_HEADER:
        raise Fault(f"it claims a header of {length} bytes, more than {MAX_HEADER}", 0)
    if 8 + length > size:
        raise Fault(f"it ends at byte {size}, within its header of {length} bytes", 8, broken=True)
    header = file.read(length)
    if not header.startswith(b"{"):
        raise Fault(f"its header begins with {shown(header[:4])}, not with an object", 8)
    said = read_json(header)
    told = said.pop("__metadata__", {})
    if not isinstance(told, dict) or not all(isinstance(text, str) for text in told.values()):
        raise Fault("its __metadata__ holds more than texts", 8)
    tensors = {name: _tensor(name, entry) for name, entry in said.items()}
    _check_places(tensors, size - 8 - length)
    if length > max(_ROOMY, _PER_TENSOR * len(tensors)):
        raise Fault(f"its header of {length} bytes is far too long for {len(tensors)} tensors", 0)
    return tensors


def _tensor(name: str, entry: Any) -> Placed:
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise Fault(f"a tensor is called {shown(name)}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise Fault(f"tensor {shown(name)} is not told by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise Fault(f"tensor {shown(name)} has the unknown type {shown(dtype)}")
    if not _whole(shape) or len(shape) > MAX_SIDES:
        raise Fault(f"tensor {shown(name)} has the shape {shown(shape)}")
    if not _whole(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise Fault(f"tensor {shown(name)} has the offsets {shown(offsets)}")
    weights = 1
    for side in shape:
        weights *= side
        if weights > MAX_WEIGHTS:
            raise Fault(f"tensor {shown(name)} has more than {MAX_WEIGHTS} weights")
    bits = weights * BITS[dtype]
    if bits % 8 or bits // 8 != offsets[1] - offsets[0]:
        taken = offsets[1] - offsets[0]
        raise Fault(f"tensor {shown(name)} takes {taken} bytes, and its shape and type make {bits / 8:g}")
    return Placed(dtype, tuple(shape), offsets[0], offsets[1])


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(one) is int and 0 <= one < 1 << 63 for one in numbers)


def _check_places(tensors: dict[str, Placed], size: int) -> None:
    """Refuse data that overlaps, leaves holes, or does not end where the file ends."""
    end = 0
    for name, one in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if one.start != end:
            how = "overlaps another" if one.start < end else "leaves a hole before it"
            raise Fault(f"the data of {shown(name)} begins at offset {one.start}, not {end}: it {how}")
        end = one.end
    if end > size:
        raise Fault(f"its tensors take {end} bytes and {size} are there; it was not copied whole", broken=True)
    if end < size:
        raise Fault(f"{size - end} bytes follow its last tensor")
