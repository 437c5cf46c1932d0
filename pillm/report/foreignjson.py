"""Read a record that another program left, as a stranger's words: what is no such record is passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 32 << 20
MOST = 2**53
"""No count and no figure is larger; every reader of JSON knows it exactly."""


def read_foreign(path: Path) -> Any:
    """Return what a file of JSON says; None where it is none, is missing or is too large."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def figure(value: Any) -> float | None:
    """Return a number; None for everything else, infinities and NaN included."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MOST
    return value if known else None
