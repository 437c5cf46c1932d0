"""Give each tensor a storage type, so that a file of so many bytes loses least: an exact knapsack over all budgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_UNITS = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A type that a tensor could have, its bytes, and what it would cost, in any unit that adds up."""

    type: str
    bytes: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A tensor with its options."""

    name: str
    options: tuple[Option, ...]


class Allocations:
    """The best choice of one option for every part, for every budget of bytes at once."""

    def __init__(self, parts: Sequence[Part]) -> None:
        """Solve for all budgets; raise ValueError where a part has no option."""
        if any(not part.options for part in parts):
            raise ValueError("every part needs an option")
        self._parts = tuple(parts)
        self._least = [min(option.bytes for option in part.options) for part in parts]
        extras = [[option.bytes - least for option in part.options] for part, least in zip(parts, self._least, strict=True)]
        room = sum(max(row) for row in extras)
        # sizes of tensors share a large divisor; where they do not, options are rounded up, never down
        self._unit = max(math.gcd(*(extra for row in extras for extra in row)) if room else 1, -(-room // MOST_UNITS), 1)
        self._steps = [[-(-extra // self._unit) for extra in row] for row in extras]
        self._taken = self._solved()

    @property
    def smallest(self) -> int:
        """Return the bytes of the smallest choice."""
        return sum(self._least)

    @property
    def largest(self) -> int:
        """Return the bytes of the largest choice that could be of use."""
        return sum(max(option.bytes for option in part.options) for part in self._parts)

    def within(self, budget: int) -> dict[str, str] | None:
        """Return the type of each part in the choice that loses least within so many bytes; None where nothing fits."""
        if budget < self.smallest:
            return None
        room = min((budget - self.smallest) // self._unit, self._taken.shape[1] - 1) if self._parts else 0
        found = {}
        for number in reversed(range(len(self._parts))):
            taken = int(self._taken[number, room])
            found[self._parts[number].name] = self._parts[number].options[taken].type
            room -= self._steps[number][taken]
        return dict(reversed(found.items()))

    def _solved(self) -> np.ndarray:
        """Return for each part and each room, in units, which option the best choice of the parts up to it takes."""
        units = sum(max(row) for row in self._steps) + 1
        best = np.zeros(units)
        taken = np.zeros((len(self._parts), units), np.uint8)
        for number, (part, steps) in enumerate(zip(self._parts, self._steps, strict=True)):
            after = np.full(units, np.inf)
            for which, (option, step) in enumerate(zip(part.options, steps, strict=True)):
                loss = np.full(units, np.inf)
                loss[step:] = best[: units - step] + option.loss
                better = loss < after
                after[better], taken[number, better] = loss[better], which
            best = after
        return taken
