"""Files that exist whole or not at all: atomic writing, kernel locks, and what a full disk is told as."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pillm.errors import PillmError, StorageError, Unavailable


def named(out: Path | str) -> Path:
    """Return a folder's path with a name of its own: "." and ".." have none that a working folder could stand beside."""
    out = Path(out)
    return out.resolve() if out.name in ("", "..") else out


def fsync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write; on success it takes the name durably, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with storage_errors(path):
            yield part
            fsync_file(part)
            part.replace(path)
            fsync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as part:
        part.write_text(text, "utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically, indented."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


@contextmanager
def storage_errors(where: Path) -> Iterator[None]:
    """Turn a full disk and the like into a StorageError that says what to do."""
    try:
        yield
    except Exception as error:
        number = _errno(error)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError(
                f"{where}: no space is left on the disk. Nothing half-written was kept; free some space and run the same "
                "command again, it resumes."
            ) from error
        if number in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StorageError(
                f"{getattr(error, 'filename', None) or where}: {os.strerror(number)}. Mend its permissions, or choose another "
                "--out."
            ) from error
        raise


def _errno(error: Exception) -> int | None:
    """Return the system's number of an error; libraries written in Rust, as safetensors is, only have it in their text."""
    if isinstance(error, PillmError):
        return None
    if isinstance(error, OSError):
        return error.errno
    said = re.search(r"\(os error (\d+)\)", str(error))
    return int(said.group(1)) if said else None


@contextmanager
def lock(file: Path) -> Iterator[None]:
    """Hold a lock file for this process; raise Unavailable at once where another holds it. Death frees the lock."""
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = file.open("a+", encoding="utf-8")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            raise Unavailable(
                f"{file.parent} is in use by {handle.read().strip() or 'another process'}. "
                "Wait for it, or choose another --out."
            ) from error
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        handle.flush()
        yield
