"""Messages between pillm and its worker process: JSON objects, each after its length in four bytes."""

from __future__ import annotations

import json
import struct
from typing import IO, Any, TypeAlias

Packet: TypeAlias = dict[str, Any]

_LENGTH = struct.Struct(">I")
MAX_BYTES = 256 * 1024 * 1024


def write(file: IO[bytes], message: Packet) -> None:
    """Write one message and flush it."""
    # surrogates cannot be UTF-8; escaped they survive the trip and are judged where they matter
    data = json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    file.write(_LENGTH.pack(len(data)) + data)
    file.flush()


def read(file: IO[bytes]) -> Packet | None:
    """Read one message; None at the end of the stream, which may come in the middle of one."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_BYTES:
        raise ValueError(f"a message of {length} bytes is longer than any that is sent")
    data = file.read(length)
    if len(data) < length:
        return None
    message: Packet = json.loads(data)
    return message
