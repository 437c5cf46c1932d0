"""Labelled rows on disk, read as often as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pillm.records import Example


class Rows:
    """Labelled rows on disk: sized, re-iterable, never all in memory."""

    def __init__(self, path: Path, count: int | None = None) -> None:
        self.path = path
        self._count = count

    def __iter__(self) -> Iterator[Example]:
        from pillm.rows import example_from_row, read_lines

        for where, row in read_lines(self.path):
            yield example_from_row(row, where=where, beside=self.path.parent)

    def __len__(self) -> int:
        if self._count is None:
            with self.path.open("rb") as file:
                self._count = sum(1 for line in file if line.strip())
        return self._count
