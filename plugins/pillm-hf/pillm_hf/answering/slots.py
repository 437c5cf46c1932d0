"""A batch of slots: a row that is done leaves its slot to one that waits, and nothing else moves.

Every slot begins at column 0, so a token's column is its position. A step writes one column per slot in place; each row's
mask ends at its own position. Import this module inside functions: it imports torch and transformers.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass
from inspect import signature
from itertools import groupby
from typing import Any

import torch

from pillm_hf.answering.sequences import Sequence, tokens_that_fit
from pillm_hf.answering.slotcache import SlotCache, Target

_PREFILL = 4096  # tokens read in one forward pass: more costs memory and gains nothing


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model's attention sees: its sliding window, and whether only some layers have one."""

    window: int | None = None
    mixed: bool = False


class Slots:
    """A batch whose rows come and go one by one."""

    def __init__(self, model: Any, shape: Shape, most: int | None = None) -> None:
        """Take the model and the most tokens that all slots may hold together."""
        from transformers import DynamicCache

        self.model, self._shape, self._most = model, shape, most
        self.rows: list[Sequence] = []
        self._layers = len(DynamicCache(config=model.config).layers)
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}
        self._minus = torch.finfo(model.dtype).min
        self.clear()

    def clear(self) -> None:
        """Drop all rows and what they hold."""
        self.rows = []
        self._prefix: list[int] = []
        self._prefix_parts: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.cache = SlotCache(self._layers, self._most)

    def room(self, waiting: Rows[Sequence]) -> int:
        """Return how many of the waiting rows fit into the cache beside those at work."""
        return tokens_that_fit(self.rows, waiting, self._most)

    def admit(self, new: list[Sequence]) -> None:
        """Read the prompts of new rows into free slots, all but their last token, which the next step takes."""
        longest = max(len(row.prompt_ids) for row in new)
        self.cache.fit(len(self.rows) + len(new), max(longest, self._width()))
        for _, same in groupby(sorted(new, key=lambda row: row.prefix), key=lambda row: row.prefix):
            rows = sorted(same, key=lambda row: len(row.prompt_ids))
            self._require_prefix(rows[0].prefix)
            while rows:
                count = max(1, min(len(rows), _PREFILL // max(1, len(rows[-1].prompt_ids) - len(rows[0].prefix))))
                self._prefill(rows[-count:])
                del rows[-count:]

    def _require_prefix(self, prefix: list[int]) -> None:
        """Read a prefix once; what is held already, or the beginning of it, is used as it is."""
        if self._prefix[: len(prefix)] == prefix:
            return
        slot = len(self.rows)
        self._pass(slot, [prefix], 0)
        self._prefix = prefix
        self._prefix_parts = [
            (layer.keys[slot, :, : len(prefix)].clone(), layer.values[slot, :, : len(prefix)].clone())
            for layer in self.cache.written()
        ]

    def _prefill(self, rows: list[Sequence]) -> None:
        first, start = len(self.rows), len(rows[0].prefix)
        if start:
            for layer, parts in zip(self.cache.written(), self._prefix_parts, strict=True):
                for held, part in zip((layer.keys, layer.values), parts, strict=True):
                    held[first : first + len(rows), :, :start] = part[:, :start]
        rest = [row.prompt_ids[start:-1] for row in rows]
        if any(rest):
            self._pass(first, rest, start)
        self.rows += rows

    def _pass(self, first: int, rest: list[list[int]], start: int) -> None:
        """Read tokens into slots from column `start`; what is right of a shorter row is overwritten before it is seen."""
        device, width = self.model.device, max(map(len, rest))
        ids = torch.tensor([part + [0] * (width - len(part)) for part in rest], device=device)
        places = torch.arange(start, start + width, device=device).unsqueeze(0)
        self.cache.target = Target(first, len(rest), start + width, start)
        body = self.model.base_model  # without the head: nothing is chosen here
        body(
            input_ids=ids,
            attention_mask=self._mask(places, start + width) if start or self._shape.window else None,
            position_ids=places.expand(len(rest), -1),
            past_key_values=self.cache,
            use_cache=True,
        )

    def step(self) -> torch.Tensor:
        """Return the logits [rows, vocabulary] of every row's next token."""
        places, width, device = [row.place for row in self.rows], self._width(), self.model.device
        self.cache.fit(len(self.rows), width)
        columns = torch.tensor(places, device=device)
        self.cache.target = Target(0, len(places), width, width - 1, torch.arange(len(places), device=device), columns)
        made = self.model(
            input_ids=torch.tensor([[row.last] for row in self.rows], device=device),
            attention_mask=self._mask(columns.unsqueeze(1), width),
            position_ids=columns.unsqueeze(1),
            past_key_values=self.cache,
            use_cache=True,
            **self._last_only,
        )
        logits: torch.Tensor = made.logits[:, -1]
        return logits

    def _width(self) -> int:
        return max((row.place for row in self.rows), default=-1) + 1

    def _mask(self, places: torch.Tensor, width: int) -> Any:
        """Return what tokens at places [rows, tokens] must not see, as models add it to their scores."""
        columns = torch.arange(width, device=places.device)
        later = columns > places.unsqueeze(-1)
        full, window = self._added(later), self._shape.window
        if window is None:
            return full
        slid = self._added(later | (columns <= places.unsqueeze(-1) - window))
        return {"full_attention": full, "sliding_attention": slid} if self._shape.mixed else slid

    def _added(self, hidden: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros(hidden.shape, dtype=self.model.dtype, device=hidden.device)
        return zero.masked_fill_(hidden, self._minus).unsqueeze(1)

    def keep(self, indices: list[int]) -> None:
        """Drop all rows but these; the last ones move into the slots that became free."""
        kept = set(indices)
        holes = [index for index in range(len(indices)) if index not in kept]
        movers = [index for index in indices if index >= len(indices)]
        if movers:
            columns = max(self.rows[index].place for index in movers)
            for layer in self.cache.written():
                layer.copy(holes, movers, columns)
        rows = [self.rows[index] if index in kept else None for index in range(len(indices))]
        for hole, mover in zip(holes, movers, strict=True):
            rows[hole] = self.rows[mover]
        self.rows = [row for row in rows if row is not None]
