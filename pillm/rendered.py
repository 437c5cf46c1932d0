"""The conversations that quantisations are measured with, as a trainer rendered them: `calibration.jsonl`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pillm.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedText:
    """A conversation as the student saw it: its text, its side of the split, where its answer is."""

    text: str
    split: str = "calibration"
    """`calibration` or `train`: an importance matrix may be computed from it. `validation`: files are compared on it."""
    answer: tuple[int, int] | None = None
    """The tokens of the answer, end of turn included, as [start, end); None where that is not known."""


def read_rendered(path: Path) -> list[RenderedText]:
    """Return the conversations of a file, none where there is no file; raise DataError for a damaged line.

    A line is an object: `text`, and where they are known `split` and `answer` (two token numbers).
    """
    if not path.is_file():
        return []
    with path.open("rb") as file:
        return [_rendered(line, f"{path}:{number}") for number, line in enumerate(file, 1) if line.strip()]


def _rendered(line: bytes, where: str) -> RenderedText:
    try:
        row = json.loads(line)
        text, split, answer = row["text"], row.get("split", "calibration"), row.get("answer")
        if not isinstance(text, str) or split not in ("calibration", "train", "validation"):
            raise TypeError("text must be text, split calibration, train or validation")
        return RenderedText(text=text, split=split, answer=None if answer is None else _span(answer))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where} is damaged ({error!r}). Train again.") from error


def _span(answer: list[int]) -> tuple[int, int]:
    start, end = answer
    if not (type(start) is type(end) is int and 0 <= start <= end):
        raise ValueError("an answer is two token numbers in order")
    return start, end
