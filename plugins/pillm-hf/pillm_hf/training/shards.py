"""Processes that each hold a part of the student's weights and optimiser, and gather a layer when it is its turn (fsdp2).

`fully_shard` is called here and not by accelerate: its FSDP plugin is for GPUs alone and does nothing on processors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pillm_hf.losses.loss import inner_of
from pillm_hf.rows.text import Encoded
from pillm_hf.training.processes import Part
from pillm_hf.training.replicas import Replicas

if TYPE_CHECKING:
    import torch

    from pillm_hf.training.optimizing import Optimizer


class Shards(Replicas):
    """One of several processes, each with a part of every weight."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = float(self.count)  # gradients are averaged over the processes

    def prepare(self, model: Any) -> None:
        """Leave each process its part of the main process's weights, layer by layer."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        super().prepare(model)
        mesh = init_device_mesh(model.device.type, (self.count,))
        layers = set(getattr(inner_of(model), "_no_split_modules", None) or ())
        for module in list(model.modules()):
            if type(module).__name__ in layers:
                fully_shard(module, mesh=mesh)
        fully_shard(model, mesh=mesh, reshard_after_forward=False)  # the head reads its weights once the forward pass is over

    def share(self, group: Sequence[list[Encoded]]) -> list[Part]:
        """Return this process's share; each takes as many passes as the others, for every pass gathers weights of them all."""
        return self._parts(group)

    def sum_gradients(self, parts: Iterable[torch.Tensor]) -> None:
        """Leave them: the backward pass summed each one's part already."""

    def whole(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Gather a tensor, in main memory where this process writes and nowhere else."""
        from torch.distributed.tensor import DTensor

        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        return full.detach().cpu() if self.writes else None

    def like(self, value: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """Return this process's part of a whole tensor; what is no weight and no sum of its gradients is kept whole."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(part, DTensor) or value.shape != part.shape:
            return super().like(value, part)
        return distribute_tensor(value.to(part.device), part.device_mesh, part.placements)

    def weights(self, optimizer: Optimizer) -> dict[str, torch.Tensor]:
        """Return the whole weights of what was learnt; empty where this process does not write."""
        return optimizer.weights()
