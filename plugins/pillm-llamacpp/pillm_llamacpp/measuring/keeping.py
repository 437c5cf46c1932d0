"""What was measured before an interruption and still holds: a folder or a file with the key of what it was made from."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pillm


def key_of(*told: object) -> str:
    """Return a key of what something is made from, as far as JSON tells it."""
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str, ensure_ascii=True).encode()).hexdigest()


def holds(path: Path, key: str) -> bool:
    """Say whether a folder or file is whole and of that key."""
    try:
        return path.exists() and _seal(path).read_text("utf-8") == key
    except (OSError, UnicodeDecodeError):
        return False


def clear(path: Path) -> None:
    """Remove a folder or file with its seal, the seal first."""
    _seal(path).unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def seal(path: Path, key: str) -> None:
    """Say that a folder or file is whole; raise OSError where the disk is full."""
    part = _seal(path).with_suffix(".part")
    part.write_text(key, "utf-8")
    pillm.fsync_file(part)
    part.replace(_seal(path))


def _seal(path: Path) -> Path:
    return path.with_name(f"{path.name}.key")
