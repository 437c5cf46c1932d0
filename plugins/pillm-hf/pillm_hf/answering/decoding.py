"""Generate for many prompts at once: a row that is done leaves, and a waiting one takes its place.

The rows at work stand in a `Batch`: slots where the model's cache allows it, else whole padded batches. Where memory runs out
half as many rows go on, and those that were not done begin again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pillm_hf.answering.choosing import Sampling, alternatives, choose
from pillm_hf.answering.sequences import SHORT_OF_MEMORY, TOO_LARGE, Batch, Sequence
from pillm_hf.models.memory import give_back, is_out_of_memory
from pillm_hf.models.precision import log

if TYPE_CHECKING:
    import torch

_REFILL = 8  # rows join once an eighth of the places is free: reading prompts one by one costs a step each

Feed = Callable[[int], list[Sequence] | None]
"""Returns up to that many waiting sequences, perhaps none; None means that there will be no more."""


class Decoder:
    """Answers sequences with a model, `width` of them at a time."""

    def __init__(self, batch: Batch, *, stop_ids: frozenset[int], sampling: Sampling, width: int) -> None:
        self.batch, self.stop_ids, self.sampling, self.width = batch, stop_ids, sampling, width
        self._more = True
        self._told = False
        self._waiting: list[Sequence] = []  # taken from the feed: they do not fit yet, or begin again
        self._joining: list[Sequence] = []  # being let in: not waiting any more, perhaps not at work yet

    def run(self, feed: Feed) -> Iterator[list[Sequence]]:
        """Yield after each step the sequences that it completed, in any order; one that memory is too small for says so."""
        import torch

        while self._more or self._waiting or self._busy():
            done: list[Sequence] | None = None
            self._take(feed)
            with torch.inference_mode():
                try:
                    done = self._round()
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
            if done is None:  # outside of `except`, whose traceback would keep the tensors alive
                done = self._halve()
            yield done
        self.batch.clear()

    def _busy(self) -> list[Sequence]:
        return [row for row in self.batch.rows if not row.finish_reason]

    def _free(self) -> int:
        """Return how many places may be filled now."""
        busy = len(self._busy())
        free = self.width - busy
        return free if not busy or free * _REFILL >= self.width else 0

    def _take(self, feed: Feed) -> None:
        """Take from the feed what there is a place for."""
        wanted = self._free() - len(self._waiting)
        if wanted > 0 and self._more:
            new = feed(wanted)
            self._more = new is not None
            self._waiting += new or []

    def _round(self) -> list[Sequence]:
        """Let waiting rows in, and take one step."""
        free = self._free()
        if free and (self._waiting or len(self._busy()) < len(self.batch.rows)):
            self.batch.keep([index for index, row in enumerate(self.batch.rows) if not row.finish_reason])
            if self._waiting and (refused := self._admit(free)):
                return refused
        busy = self._busy()
        if busy:
            self._choose(self.batch.step())
        return [row for row in busy if row.finish_reason]

    def _admit(self, free: int) -> list[Sequence]:
        """Let in what fits; return a row that does not fit alone."""
        asked = self._waiting[:free]
        fit = self.batch.room(asked)
        if not fit and not self.batch.rows:
            row = self._waiting.pop(0)
            row.finish_reason = TOO_LARGE
            return [row]
        if 0 < fit < len(asked) and not self._told:
            self._told = True
            log.warning(
                "kv_memory holds the cache of %d rows at once, not of %d. All rows are answered, more slowly; a larger "
                "kv_memory or a smaller max_new_tokens makes room for more.", len(self.batch.rows) + fit, self.width,
            )  # fmt: skip
        if fit:
            self._joining, self._waiting = asked[:fit], self._waiting[fit:]
            self.batch.admit(self._joining)
            self._joining = []
        return []

    def _halve(self) -> list[Sequence]:
        """Go on with half as many rows after memory ran out; they begin again. Return the row that failed alone, if one did."""
        tried = self._busy()
        tried += [row for row in self._joining if row not in tried]
        self._waiting = [row for row in self._waiting if row not in tried]
        self._joining = []
        self.batch.clear()
        give_back()
        if len(tried) == 1:
            tried[0].finish_reason = SHORT_OF_MEMORY
            return tried
        for row in tried:
            row.restart()
        self._waiting = tried + self._waiting
        self.width = max(1, min(self.width, len(tried)) // 2)
        log.warning("memory ran out; %d rows are answered at once from here on. Set batch_size to avoid this.", self.width)
        return []

    def _choose(self, logits: torch.Tensor) -> None:
        """Give every row at work its next token and note which rows are complete."""
        rows = self.batch.rows
        chosen = self._chosen(logits)
        noted = alternatives(logits, self.sampling.logprobs) if self.sampling.logprobs else None
        for index, (row, token) in enumerate(zip(rows, chosen, strict=True)):
            if row.finish_reason:  # keeps its place until others join; what it is given now is thrown away
                continue
            row.token_ids.append(token)
            if noted:
                row.logprobs.append(tuple(noted[index]))
            if row.constraint:
                row.constraint.accept(token)
            if token in self.stop_ids:
                row.finish_reason = "stop"
            elif len(row.token_ids) >= row.limit:
                row.finish_reason = "length"

    def _chosen(self, logits: torch.Tensor) -> list[int]:
        import torch

        rows, draws = self.batch.rows, None
        if self.sampling.temperature > 0:
            drawn = [0.0 if row.finish_reason or row.draws is None else float(row.draws[len(row.token_ids)]) for row in rows]
            draws = torch.tensor(drawn, device=logits.device)
        held = [index for index, row in enumerate(rows) if row.constraint and not row.finish_reason]
        if held:
            from pillm_hf.answering.constraint import hold

            first = logits.argmax(-1).tolist() if draws is None else None
            logits = hold(logits, [(index, rows[index].constraint) for index in held], first)
        chosen: list[int] = choose(logits, draws, self.sampling).tolist()
        return chosen
