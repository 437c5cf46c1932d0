"""Slices of a split that mean what they say: `train[:2000]`, `train[10%:20%]`, `train[-100:]`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import pillm

T = TypeVar("T")
_FORM = re.compile(r"(?P<split>[A-Za-z0-9_.-]+)(?:\[(?P<first>-?[0-9]{1,15}%?)?:(?P<end>-?[0-9]{1,15}%?)?\])?")


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows `first` to before `end` of a split, counted from 0; each a number, from the end where negative, or a percentage."""

    split: str
    first: str = ""
    end: str = ""

    @classmethod
    def parse(cls, text: str) -> Slice:
        """Return the slice that a text says; raise DataError."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise pillm.DataError(f"{text!r} is no split. Write NAME or NAME[from:to], as in train[:2000] or train[10%:20%].")
        made = cls(match["split"], match["first"] or "", match["end"] or "")
        for bound in (made.first, made.end):
            if bound.endswith("%") and abs(int(bound[:-1])) > 100:
                raise pillm.DataError(f"{text!r} asks for {bound} of a split. Write a percentage in 0..100.")
        return made

    def __str__(self) -> str:
        return f"{self.split}[{self.first}:{self.end}]" if self.first or self.end else self.split

    def of(self, rows: Callable[[], Iterable[T]], count: Callable[[], int]) -> Iterator[T]:
        """Yield the rows meant; they are counted first only where a bound asks for it.

        Percentages are rounded down, so [:10%] and [10%:] share no row and lose none. Raises DataError where the slice
        reaches beyond the rows that there are, and where it holds none.
        """
        if not self.first and not self.end:
            yield from rows()
            return
        total = count() if any(bound.startswith("-") or bound.endswith("%") for bound in (self.first, self.end)) else None
        first, end = _place(self.first or "0", total, str(self)), _place(self.end, total, str(self)) if self.end else None
        if end is not None and end <= first:
            raise pillm.DataError(f"{self} holds no row: it goes from {first} to before {end}.")
        found = 0
        for row in islice(rows(), first, end):
            found += 1
            yield row
        if end is not None and found < end - first:
            raise pillm.DataError(f"{self} goes to row {end}, and there are only {first + found}. Ask for what there is.")
        if not found:
            raise pillm.DataError(f"{self} begins after the last row. Ask for what there is.")


def _place(bound: str, total: int | None, said: str) -> int:
    """Return the row that a bound names; `total` is given wherever it is needed."""
    rows = total or 0
    share = bound.endswith("%")
    size = abs(int(bound.rstrip("%")))
    number = rows * size // 100 if share else size
    if not bound.startswith("-"):
        return number
    if number > rows:
        raise pillm.DataError(f"{said} begins {number} rows before the end, and there are only {rows}. Ask for what there is.")
    return rows - number
