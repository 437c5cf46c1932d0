"""A batch for models whose caches cannot be cut into slots: left-padded, and whole until its last row is done.

Import this module inside functions: it imports torch and transformers.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from inspect import signature
from typing import Any

import torch
from transformers import DynamicCache

from pillm_hf.answering.sequences import Sequence, tokens_that_fit


class Padded:
    """Rows that begin together; every row's next token is at its right edge."""

    def __init__(self, model: Any, pad_id: int, most: int | None = None) -> None:
        """Take the model and the most tokens that the whole cache may hold."""
        self.model, self._pad_id, self._most = model, pad_id, most
        known = signature(model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self._wants_places = "position_ids" in known
        self.clear()

    def clear(self) -> None:
        """Drop all rows and what they hold."""
        self.rows: list[Sequence] = []
        self._cache: DynamicCache | None = None
        self._mask = torch.zeros(0)

    def room(self, waiting: Rows[Sequence]) -> int:
        """Return how many waiting rows may begin together; none while there are rows at work."""
        return 0 if self.rows else tokens_that_fit((), waiting, self._most)

    def admit(self, new: list[Sequence]) -> None:
        """Take the rows of one batch; the first step reads their prompts."""
        self.rows, self._cache = new, None

    def keep(self, indices: list[int]) -> None:
        """Drop the rows once none of them is wanted any more."""
        if not indices:
            self.clear()

    def step(self) -> torch.Tensor:
        """Return the logits [rows, vocabulary] of every row's next token."""
        if self._cache is None:
            return self._prefill()
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], dim=1)
        return self._forward([[row.last] for row in self.rows])

    def _prefill(self) -> torch.Tensor:
        width = max(len(row.prompt_ids) for row in self.rows)
        padding = [width - len(row.prompt_ids) for row in self.rows]
        self._mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in padding], device=self.model.device)
        self._cache = DynamicCache(config=self.model.config)
        return self._forward([[self._pad_id] * pad + row.prompt_ids for pad, row in zip(padding, self.rows, strict=True)])

    def _forward(self, ids: list[list[int]]) -> torch.Tensor:
        more = {}
        if self._wants_places:
            more["position_ids"] = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -len(ids[0]) :]
        made = self.model(
            input_ids=torch.tensor(ids, device=self.model.device),
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            **more,
            **self._last_only,
        )
        logits: torch.Tensor = made.logits[:, -1]
        return logits
