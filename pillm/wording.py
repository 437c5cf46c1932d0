"""Figures and text as Markdown shows them: nothing that comes from outside does more than be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&$@])")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def escaped(value: object) -> str:
    """Return any text as Markdown that shows it and does nothing else."""
    return _SPECIAL.sub(r"\\\1", _CONTROL.sub(" ", str(value)))


def code(value: object) -> str:
    """Return any text as inline code that nothing in it can end, also inside a table."""
    plain = _CONTROL.sub(" ", str(value))
    longest = max((len(run) for run in re.findall("`+", plain)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}".replace("|", "\\|") if plain.strip() else "(empty)"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table whose first `left` columns stand left and whose others stand right."""
    align = [":--" if column < left else "--:" for column in range(len(heads))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, align, *rows))


def score(value: float | None) -> str:
    """Return a mean with three digits, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def size(count: int | None) -> str:
    """Return bytes in decimal units, as file listings and memory cards say them."""
    if count is None:
        return "–"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            value = count / scale
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}" if value >= 10 else f"{value:.2f} {unit}"
    return f"{count} B"


def speed(value: float | None) -> str:
    """Return tokens per second with three significant digits."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
