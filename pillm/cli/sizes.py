"""Bytes as people say them."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size_text(count: float, like: float | None = None) -> str:
    """Return bytes as "12.3 MB", in the decimal unit that fits them, or that would fit the size `like`."""
    value, size, unit = float(count), float(count if like is None else like), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        value, size, unit = value / 1000, size / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
