"""A look at a file's first bytes, bounded in time and memory, before llama.cpp sees the file."""

from __future__ import annotations

import struct
from pathlib import Path

import pillm

_HEAD = struct.Struct("<4sIQQ")
_VERSIONS = (2, 3)
_MOST = 1 << 20
_SMALLEST_KEY = 8 + 1 + 4 + 1
_SMALLEST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8


def check_header(path: Path) -> None:
    """Raise DataError, naming the file and what is wrong, where it cannot be a GGUF model."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD.size)
            size = path.stat().st_size
    except OSError as error:
        raise pillm.DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if head[:4] != b"GGUF":
        raise pillm.DataError(f"{path} is not a GGUF file: it begins with {head[:4]!r}. Make one with: pillm export")
    if len(head) < _HEAD.size:
        raise pillm.DataError(f"{path} ends after {len(head)} bytes; it was not copied whole.")
    _, version, tensors, keys = _HEAD.unpack(head)
    if version not in _VERSIONS:
        other = " (or of a machine with the other byte order)" if version & 0xFFFF == 0 else ""
        raise pillm.DataError(f"{path} is a GGUF file of version {version}{other}; versions {_VERSIONS} can be read.")
    if not (0 < tensors <= _MOST and 0 < keys <= _MOST):
        raise pillm.DataError(f"{path} claims {tensors} tensors and {keys} keys; that is no model.")
    if size < _HEAD.size + keys * _SMALLEST_KEY + tensors * _SMALLEST_TENSOR:
        raise pillm.DataError(f"{path} has {size} bytes, too few for its {tensors} tensors; it was not copied whole.")
