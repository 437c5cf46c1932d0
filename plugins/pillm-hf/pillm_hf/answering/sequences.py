"""One prompt being answered, and what a batch of them has to be able to do."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from pillm_hf.answering.constraint import Constraint

SHORT_OF_MEMORY = "memory"
TOO_LARGE = "kv_memory"
"""Why a row could not be answered: memory ran out on it alone, or `kv_memory` does not hold it."""


@dataclass(slots=True, eq=False)
class Sequence:
    """One prompt being answered: at most `limit` tokens, chosen by `draws` where sampling is on."""

    prompt_ids: list[int]
    limit: int
    draws: torch.Tensor | None = None
    owner: Any = None
    prefix: list[int] = field(default_factory=list)
    """The first tokens of the prompt, where others begin with them too."""
    constraint: Constraint | None = None
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    finish_reason: str = ""

    @property
    def need(self) -> int:
        """Return the tokens of key-value cache that the row may come to fill."""
        return len(self.prompt_ids) + self.limit

    @property
    def place(self) -> int:
        """Return the position of the last known token."""
        return len(self.prompt_ids) + len(self.token_ids) - 1

    @property
    def last(self) -> int:
        """Return the last known token."""
        return self.token_ids[-1] if self.token_ids else self.prompt_ids[-1]

    def restart(self) -> None:
        """Forget what was answered so far."""
        self.token_ids, self.logprobs = [], []
        if self.constraint:
            self.constraint.restart()


class Batch(Protocol):
    """Rows that take their steps together."""

    rows: list[Sequence]

    def room(self, waiting: Rows[Sequence]) -> int:
        """Return how many of the waiting rows may join now, in their order."""
        ...

    def admit(self, new: list[Sequence]) -> None:
        """Let rows join."""
        ...

    def step(self) -> torch.Tensor:
        """Return the logits [rows, vocabulary] of every row's next token."""
        ...

    def keep(self, indices: list[int]) -> None:
        """Drop all rows but these, as far as the batch can."""
        ...

    def clear(self) -> None:
        """Drop all rows and what they hold."""
        ...


def tokens_that_fit(rows: Rows[Sequence], waiting: Rows[Sequence], most: int | None) -> int:
    """Return how many waiting rows fit beside those at work, if each took as many tokens of cache as the neediest."""
    if most is None:
        return len(waiting)
    fit, need = 0, max((row.need for row in rows), default=0)
    for count, row in enumerate(waiting, 1):
        need = max(need, row.need)
        if (len(rows) + count) * need > most:
            break
        fit = count
    return fit
