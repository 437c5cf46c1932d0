"""Generate for many prompts at once: finished rows leave the batch, waiting ones take their place.

A batch is left-padded, so every row's next token is at its right edge. Rows leave and join by cutting and padding the
key-value cache, which keeps the batch full although answers differ in length. Where memory runs out the batch is halved
and its unfinished rows begin again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any

from pillm_hf.choosing import Sampling, alternatives, choose
from pillm_hf.memory import give_back, is_out_of_memory
from pillm_hf.precision import log

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache


@dataclass(slots=True, eq=False)
class Sequence:
    """One prompt being answered: at most `limit` tokens, chosen by `draws` where sampling is on."""

    prompt_ids: list[int]
    limit: int
    draws: torch.Tensor | None = None
    owner: Any = None
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    finish_reason: str = ""


Feed = Callable[[int], list[Sequence] | None]
"""Returns up to that many waiting sequences, perhaps none; None means that there will be no more."""


@dataclass(slots=True)
class _Batch:
    rows: list[Sequence]
    cache: DynamicCache
    mask: torch.Tensor  # [rows, cached tokens + 1]: which columns are real
    position: torch.Tensor  # [rows, 1]: of the token that comes next
    token: torch.Tensor  # [rows, 1]: chosen, not yet in the cache


class Decoder:
    """Answers sequences with a model, `width` of them at a time."""

    def __init__(self, model: Any, *, stop_ids: frozenset[int], pad_id: int, sampling: Sampling, width: int) -> None:
        self.model, self.sampling, self.width = model, sampling, width
        self.stop_ids, self.pad_id = stop_ids, pad_id
        self._more = True
        self._in_hand: list[Sequence] = []  # taken from the feed, not yet handed back
        self._again: list[Sequence] = []  # of those, the ones that wait because memory ran out
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}

    def run(self, feed: Feed) -> Iterator[list[Sequence]]:
        """Yield after each step the sequences that it completed, in any order; one that memory is too small for says so."""
        import torch

        batch: _Batch | None = None
        while self._more or self._again or batch:
            done: list[Sequence] | None = None
            new = self._next(feed, len(batch.rows) if batch else 0)
            with torch.inference_mode():
                try:
                    batch, done = self._round(batch, new)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
            if done is None:  # outside of `except`, whose traceback would keep the tensors alive
                batch = None
                done = self._halve()
            if done:
                self._in_hand = [row for row in self._in_hand if row not in done]
            yield done

    def _round(self, batch: _Batch | None, new: list[Sequence]) -> tuple[_Batch | None, list[Sequence]]:
        """Let new rows in, and take one step."""
        batch, done = self._admit(batch, new) if new else (batch, [])
        if batch:
            batch, finished = self._retire(self._step(batch))
            done += finished
        return batch, done

    def _next(self, feed: Feed, busy: int) -> list[Sequence]:
        """Return the rows that come next, none while more than half of the batch is busy."""
        count = self.width - busy
        if busy > self.width // 2:
            return []
        if self._again:
            new, self._again = self._again[:count], self._again[count:]
            return new
        new = feed(count) if self._more else None
        self._more = new is not None
        self._in_hand += new or []
        return new or []

    def _halve(self) -> list[Sequence]:
        """Return what is complete after memory ran out; the other rows begin again, half as many at once."""
        give_back()
        tried = [row for row in self._in_hand if row not in self._again]
        for row in tried:
            if row.finish_reason:
                continue
            if len(tried) == 1:
                row.finish_reason = "memory"
            else:
                row.token_ids, row.logprobs = [], []
                self._again.append(row)
        if len(tried) > 1:
            self.width = max(1, min(self.width, len(tried)) // 2)
            log.warning("memory ran out; %d rows are answered at once from here on. Set batch_size to avoid this.", self.width)
        return [row for row in tried if row.finish_reason]

    def _admit(self, batch: _Batch | None, new: list[Sequence]) -> tuple[_Batch | None, list[Sequence]]:
        added, done = self._retire(self._prefill(new))
        if batch is None or added is None:
            return batch or added, done
        if _joinable(batch.cache) and _joinable(added.cache):
            return _join(batch, added), done
        while batch is not None:  # caches of hybrid models cannot be joined: finish the rows in hand first
            batch, finished = self._retire(self._step(batch))
            done += finished
        return added, done

    def _prefill(self, rows: list[Sequence]) -> _Batch:
        import torch
        from transformers import DynamicCache

        width = max(len(row.prompt_ids) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, width - len(row.prompt_ids) :] = torch.tensor(row.prompt_ids)
            mask[index, width - len(row.prompt_ids) :] = 1
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        position = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache(config=self.model.config)
        batch = _Batch(rows, cache, mask, position[:, -1:] + 1, ids[:, -1:])
        self._choose(batch, self._forward(ids, mask, position, cache))
        return batch

    def _step(self, batch: _Batch) -> _Batch:
        logits = self._forward(batch.token, batch.mask, batch.position, batch.cache)
        batch.position = batch.position + 1
        self._choose(batch, logits)
        return batch

    def _forward(self, ids: Any, mask: Any, position: Any, cache: Any) -> torch.Tensor:
        made = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            **self._last_only,
        )
        return made.logits[:, -1]

    def _choose(self, batch: _Batch, logits: torch.Tensor) -> None:
        """Give every row its next token and note which rows are complete."""
        import torch

        draws = None
        if self.sampling.temperature > 0:
            draws = torch.stack([row.draws[len(row.token_ids)] for row in batch.rows]).to(logits.device)
        chosen = choose(logits, draws, self.sampling)
        noted = alternatives(logits, self.sampling.logprobs) if self.sampling.logprobs else None
        for index, token in enumerate(chosen.tolist()):
            row = batch.rows[index]
            if row.finish_reason:  # waits for its batch; what it is given now is thrown away
                continue
            row.token_ids.append(token)
            if noted:
                row.logprobs.append(tuple(noted[index]))
            if token in self.stop_ids:
                row.finish_reason = "stop"
            elif len(row.token_ids) >= row.limit:
                row.finish_reason = "length"
        batch.token = chosen.unsqueeze(1)
        batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(batch.rows), 1)], dim=1)

    def _retire(self, batch: _Batch) -> tuple[_Batch | None, list[Sequence]]:
        """Return the batch without its finished rows, and those rows, once there are enough to be worth the copying."""
        done = [row for row in batch.rows if row.finish_reason]
        if len(done) == len(batch.rows):
            return None, done
        if len(done) * 8 < len(batch.rows) or not _joinable(batch.cache):
            return batch, []
        return _keep(batch, [index for index, row in enumerate(batch.rows) if not row.finish_reason]), done


def _joinable(cache: DynamicCache) -> bool:
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _keep(batch: _Batch, indices: list[int]) -> _Batch:
    """Return the batch with these rows only, without the columns that are padding for all of them."""
    import torch

    kept = torch.tensor(indices, device=batch.mask.device)
    mask = batch.mask[kept]
    empty = int(mask.any(0).int().argmax())
    for layer in batch.cache.layers:
        layer.keys, layer.values = layer.keys[kept, :, empty:], layer.values[kept, :, empty:]
    rows = [batch.rows[index] for index in indices]
    return _Batch(rows, batch.cache, mask[:, empty:], batch.position[kept], batch.token[kept])


def _join(one: _Batch, two: _Batch) -> _Batch:
    """Return both batches as one, the shorter padded on its left."""
    import torch
    from torch.nn.functional import pad

    width = max(one.mask.shape[1], two.mask.shape[1])
    for batch in (one, two):
        more = width - batch.mask.shape[1]
        batch.mask = pad(batch.mask, (more, 0))
        for layer in batch.cache.layers:
            layer.keys, layer.values = (pad(part, (0, 0, more, 0)) for part in (layer.keys, layer.values))
    for mine, other in zip(one.cache.layers, two.cache.layers, strict=True):
        mine.keys, mine.values = torch.cat([mine.keys, other.keys]), torch.cat([mine.values, other.values])
    return _Batch(
        one.rows + two.rows,
        one.cache,
        torch.cat([one.mask, two.mask]),
        torch.cat([one.position, two.position]),
        torch.cat([one.token, two.token]),
    )
