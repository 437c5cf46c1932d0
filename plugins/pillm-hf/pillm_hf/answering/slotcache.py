"""A key-value cache of slots, which models write to and read from as from any other cache of transformers.

Import this module inside functions: it imports torch and transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_STEP = 64  # columns that the cache grows by: what is held follows the answers, not the longest that were allowed


@dataclass(slots=True)
class Target:
    """Where the next forward pass writes: `count` slots from `first`, each from column `start` or at its own column."""

    first: int
    count: int
    width: int
    start: int = 0
    rows: torch.Tensor | None = None
    columns: torch.Tensor | None = None


class SlotLayer(CacheLayerMixin):
    """One layer's keys and values, [slots, heads, columns, head size]."""

    is_sliding = False
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make room for all slots."""
        size = self._cache.slots, self._cache.columns
        self.keys, self.values = (_room(part, *size) for part in (key_states, value_states))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns and return all columns of the slots that are computed."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._written(self.keys, key_states), self._written(self.values, value_states)

    def _written(self, held: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        target = self._cache.target
        mine = held[target.first : target.first + target.count]
        if target.columns is None or target.rows is None:
            mine[:, :, target.start : target.start + new.shape[2]] = new
        else:
            mine[target.rows.to(new.device), :, target.columns.to(new.device)] = new[:, :, 0]
        return mine[:, :, : target.width]

    def resize(self) -> None:
        """Take the cache's new size, with what was held."""
        size = self._cache.slots, self._cache.columns
        self.keys, self.values = (_moved(part, _room(part, *size)) for part in (self.keys, self.values))

    def copy(self, into: list[int], out_of: list[int], columns: int) -> None:
        """Copy the first columns of some slots into others."""
        for part in (self.keys, self.values):
            part[into, :, :columns] = part[out_of, :, :columns]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the columns that a pass sees, and that they begin at 0."""
        return self._cache.target.width, 0

    def get_seq_length(self) -> int:
        """Return the column that the current pass begins at."""
        return self._cache.target.start

    def get_max_length(self) -> int:
        """Return that there is no most."""
        return -1


def _room(like: torch.Tensor, slots: int, columns: int) -> torch.Tensor:
    """Return zeros: what a mask hides must still be a number."""
    return like.new_zeros((slots, like.shape[1], columns, like.shape[3]))


def _moved(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    slots, columns = (min(old.shape[axis], new.shape[axis]) for axis in (0, 2))
    new[:slots, :, :columns] = old[:slots, :, :columns]
    return new


class SlotCache(Cache):
    """The layers' slots, all of one size."""

    def __init__(self, layers: int, most: int | None) -> None:
        self.slots = self.columns = 0
        self.most = most
        self.target = Target(0, 0, 0)
        self.kept = [SlotLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self.kept))

    def written(self) -> list[SlotLayer]:
        """Return the layers that the model uses: where several share one, the others stay empty."""
        return [layer for layer in self.kept if layer.is_initialized]

    def fit(self, slots: int, columns: int) -> None:
        """Make room for so many slots of so many columns; `most` tokens are not exceeded where these fit."""
        if slots <= self.slots and columns <= self.columns:
            return
        rounded, held = -(-max(columns, self.columns) // _STEP) * _STEP, max(slots, self.slots)
        if self.most is not None and held * rounded > self.most:
            held, rounded = slots, max(columns, min(-(-columns // _STEP) * _STEP, self.most // slots))
        self.slots, self.columns = held, rounded
        for layer in self.written():
            layer.resize()
