"""Processes that each hold the whole student, and sum their gradients (ddp).

Gradients are summed by hand and not by torch's wrapper: a share may be empty, the output head stands outside of the model,
and the loss is divided by the tokens of all processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.rows.text import Encoded
from pillm_hf.training.processes import Part, Processes, shares

if TYPE_CHECKING:
    import torch

_BUCKET = 16 * 2**20
"""Numbers that are summed at a time."""


class Replicas(Processes):
    """One of several processes, each with a whole student; torch's process group is there already."""

    def __init__(self) -> None:
        import os

        from torch import distributed

        self.rank, self.count = distributed.get_rank(), distributed.get_world_size()
        self._first = int(os.environ.get("LOCAL_RANK", "0")) == 0

    @property
    def writes(self) -> bool:
        """Say whether this is the first process of its machine."""
        return self._first

    def prepare(self, model: Any) -> None:
        """Let all begin with the main process's weights."""
        from torch import distributed

        for part in model.parameters():
            if part.requires_grad:
                distributed.broadcast(part.data, 0)

    def begin(self, seed: int, step: int) -> None:
        """Draw other random numbers in each process, and those of a step again where it is taken again."""
        import torch

        torch.manual_seed((seed * 1_000_003 + step) * self.count + self.rank & 2**63 - 1)

    def share(self, group: Sequence[list[Encoded]]) -> list[Part]:
        """Return this process's share of a group's rows; each may have fewer than there are processes."""
        return [part for part in self._parts(group) if part.counts]

    def _parts(self, group: Sequence[list[Encoded]]) -> list[Part]:
        return shares(group, self.count)[self.rank]

    def sum(self, *numbers: float) -> list[float]:
        """Return sums over all processes."""
        import torch
        from torch import distributed

        summed = torch.tensor(numbers, dtype=torch.float64)
        distributed.all_reduce(summed)
        return [float(number) for number in summed]

    def sum_gradients(self, parts: Iterable[torch.Tensor]) -> None:
        """Sum gradients, many small ones at a time; a process without rows has none of its own and adds nothing."""
        import torch
        from torch import distributed

        for bucket in _buckets(parts):
            for part in bucket:
                if part.grad is None:
                    part.grad = torch.zeros_like(part)
            grads = [part.grad for part in bucket if part.grad is not None]
            flat = torch.cat([grad.reshape(-1) for grad in grads])
            distributed.all_reduce(flat)
            for grad, summed in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
                grad.copy_(summed.view_as(grad))

    def told(self, value: Any) -> Any:
        """Return what the main process gave; it is sent as JSON, which cannot run."""
        import torch
        from torch import distributed

        said = json.dumps(value).encode() if self.is_main else b""
        size = torch.tensor([len(said)])
        distributed.broadcast(size, 0)
        sent = (
            torch.frombuffer(bytearray(said), dtype=torch.uint8) if self.is_main else torch.empty(int(size), dtype=torch.uint8)
        )
        distributed.broadcast(sent, 0)
        return json.loads(sent.numpy().tobytes())

    def require_same(self, what: str) -> None:
        """Raise ConfigError in every process where one has another hash than the main one."""
        apart = int(self.sum(float(what != self.told(what)))[0])
        if apart:
            raise pillm.ConfigError(
                f"{apart} of {self.count} processes train with other rows, options, versions or another base than the first. "
                "Nothing was trained. Run the same command on the same rows on every machine, save for machine_rank."
            )

    def spread(self, tensors: Mapping[str, torch.Tensor] | None) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the main process's tensors, sent one at a time; the others need not have them on a disk of their own."""
        import torch
        from torch import distributed

        here = tensors or {}
        listing = [[name, str(each.dtype).removeprefix("torch."), list(each.shape)] for name, each in here.items()]
        for name, dtype, shape in self.told(listing):
            value = here[name].contiguous() if self.is_main else torch.empty(shape, dtype=getattr(torch, dtype))
            distributed.broadcast(value, 0)
            yield name, value

    def whole(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the tensor where this process writes."""
        return tensor if self.writes else None


def _buckets(parts: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield parameters in groups of one number format, each small enough to be copied."""
    bucket: list[torch.Tensor] = []
    size = 0
    for part in parts:
        if bucket and (size + part.numel() > _BUCKET or part.dtype != bucket[0].dtype or part.device != bucket[0].device):
            yield bucket
            bucket, size = [], 0
        bucket.append(part)
        size += part.numel()
    if bucket:
        yield bucket
