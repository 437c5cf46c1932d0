"""What a training knows of the processes that it shares its work with; an ordinary one is alone, and shares nothing.

All processes see every row of a step and take their share of it. So each knows the answer tokens of them all, and what is
summed over the processes is the gradient of the same mean loss that one process would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pillm_hf.rows.text import Encoded

if TYPE_CHECKING:
    import torch

    from pillm_hf.options.finetuning import FineTuning
    from pillm_hf.training.optimizing import Optimizer


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one forward pass; those of a pass that is only taken along with the others count for nothing."""

    rows: list[Encoded]
    counts: bool = True


class Processes:
    """The one process of an ordinary training, and what any number of them have in common."""

    rank: int = 0
    count: int = 1
    factor: float = 1.0
    """What a loss is multiplied with before its backward pass; more than 1 where gradients are averaged, not summed."""
    splits_head: bool = True
    """Whether the output layer may be taken off the model."""

    @property
    def is_main(self) -> bool:
        """Say whether this is the process that reports and saves."""
        return self.rank == 0

    @property
    def writes(self) -> bool:
        """Say whether this process holds whole weights at the end, to be written: the first one of each machine."""
        return True

    def prepare(self, model: Any) -> None:
        """Make a model ready to be trained together, before its optimiser is made."""

    def begin(self, seed: int, step: int) -> None:
        """Draw random numbers for a step."""

    def share(self, group: Sequence[list[Encoded]]) -> list[Part]:
        """Return this process's part of a group of micro-batches."""
        return [Part(rows) for rows in group]

    def sum(self, *numbers: float) -> list[float]:
        """Return sums over all processes, the same in each."""
        return list(numbers)

    def sum_gradients(self, parts: Iterable[torch.Tensor]) -> None:
        """Put the sum over all processes in the place of each one's gradients."""

    def told(self, value: Any) -> Any:
        """Return what the main process gave, as JSON; what the others gave counts for nothing."""
        return value

    def require_same(self, what: str) -> None:
        """Raise ConfigError where the processes differ in a hash of what they train."""

    def spread(self, tensors: Mapping[str, torch.Tensor] | None) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the main process's tensors by name."""
        yield from (tensors or {}).items()

    def whole(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return a tensor of which each process may hold a part; None where this process does not write."""
        return tensor

    def like(self, value: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """Return a whole tensor as a process holds its parameter `part`: on its device, or its part of it."""
        return value.to(part.device).clone()

    def optimizer(self, model: Any, options: FineTuning, dtype: torch.dtype) -> Optimizer:
        """Return the optimiser of a model that was made ready."""
        from pillm_hf.training.optimizing import Optimizer

        return Optimizer(model, options, dtype, self)

    def weights(self, optimizer: Optimizer) -> dict[str, torch.Tensor] | None:
        """Return the whole weights of what was learnt where the model itself no longer holds them."""
        return None


ALONE = Processes()


def shares(group: Sequence[list[Encoded]], count: int) -> list[list[Part]]:
    """Return each process's parts of a group: rows shared out by tokens, and as many passes for one as for another.

    A pass holds at most as many rows as the group's largest micro-batch. Where a process has too few rows for a pass of its
    own it takes one along that counts for nothing, for the others wait for it.
    """
    size = max(len(rows) for rows in group)
    piles: list[list[Encoded]] = [[] for _ in range(count)]
    weights = [0] * count
    rows = [row for part in group for row in part]
    for row in sorted(rows, key=lambda row: len(row.ids), reverse=True):
        lightest = min(range(count), key=lambda rank: (weights[rank], rank))
        piles[lightest].append(row)
        weights[lightest] += len(row.ids)
    passes = max(-(-len(pile) // size) for pile in piles)
    shortest = min(rows, key=lambda row: len(row.ids))
    return [[*_passes(pile, passes), *[Part([shortest], counts=False)] * max(0, passes - len(pile))] for pile in piles]


def _passes(pile: list[Encoded], passes: int) -> list[Part]:
    """Return a pile of rows in so many passes, or in as many as it has rows; alike long ones together."""
    made = min(passes, len(pile))
    ends = [len(pile) * number // made for number in range(made + 1)] if made else [0]
    return [Part(pile[begin:end]) for begin, end in pairwise(ends)]
