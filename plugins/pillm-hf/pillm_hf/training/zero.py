"""Processes that share optimiser, gradients and, in stage 3, weights through DeepSpeed's ZeRO."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.rows.text import Encoded
from pillm_hf.training.optimizing import Optimizer
from pillm_hf.training.processes import Part
from pillm_hf.training.replicas import Replicas

if TYPE_CHECKING:
    import torch

    from pillm_hf.options.finetuning import FineTuning

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Zero(Replicas):
    """One of several processes whose optimiser is DeepSpeed's."""

    def __init__(self, stage: int) -> None:
        super().__init__()
        self.factor = float(self.count)  # gradients are averaged over the processes
        self.splits_head = stage < 3

    def share(self, group: Sequence[list[Encoded]]) -> list[Part]:
        """Return this process's share; each takes as many passes as the others, for they sum gradients in each."""
        return self._parts(group)

    def optimizer(self, model: Any, options: FineTuning, dtype: torch.dtype) -> Optimizer:
        """Return DeepSpeed's optimiser; the model's weights are its own from now on."""
        return ZeroOptimizer(model, options, dtype, self)

    def weights(self, optimizer: Optimizer) -> dict[str, torch.Tensor]:
        """Return the whole weights of what was learnt; empty where this process does not write."""
        return optimizer.weights()


class ZeroOptimizer(Optimizer):
    """AdamW as DeepSpeed keeps it: in parts, and flat."""

    def __init__(self, model: Any, options: FineTuning, dtype: torch.dtype, processes: Zero) -> None:
        import deepspeed

        super().__init__(model, options, dtype, processes)
        for group in self._adam.param_groups:
            group["lr"] = 0.0  # some versions take a step at once to make AdamW's memory
        self._engine, *_ = deepspeed.initialize(
            model=model, optimizer=self._adam, config=os.environ["ACCELERATE_DEEPSPEED_CONFIG_FILE"]
        )
        self._set_counts(0)
        self._set_rates(0)

    def _set_counts(self, steps: int) -> None:
        """Let AdamW believe that it took so many steps."""
        for state in self._adam.state.values():
            if "step" in state:
                state["step"].fill_(steps)

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        """Add a loss's gradients; with the last one of a step they are complete."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss)

    def norm(self) -> float:
        """Return 0: the gradients' norm is known once `step` has clipped them."""
        return 0.0

    def step(self) -> None:
        """Take a step; raise BackendError where the gradients were no numbers, before anything is saved."""
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        if norm is not None and not math.isfinite(float(norm)):
            raise pillm.BackendError(
                f"the gradient's norm is {float(norm)} at step {self.steps + 1}; what was saved before it is kept. "
                "Lower learning_rate or max_grad_norm, or set dtype=float32, and train again."
            )
        self.steps += 1
        self._set_rates(self.steps)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return what is learnt by its name, whole; nothing where this process does not write."""
        from deepspeed.utils import safe_get_full_fp32_param

        return self._gathered((name, safe_get_full_fp32_param(part)) for name, part in self.learnt.items())

    def _gathered(self, found: Iterable[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {name: value.detach().cpu().clone() for name, value in found if self._processes.writes}

    def memory(self) -> dict[str, torch.Tensor]:
        """Return AdamW's memory of what is learnt, whole, as the plain optimiser would."""
        import torch
        from deepspeed.utils import safe_get_full_optimizer_state

        kept: dict[str, torch.Tensor] = {}
        for what in _MOMENTS:
            found = ((name, safe_get_full_optimizer_state(part, what)) for name, part in self.learnt.items())
            kept |= {f"{what}:{name}": value for name, value in self._gathered(found).items()}
        return kept | {f"step:{name}": torch.tensor(float(self.steps)) for name in self.learnt}

    def load(self, tensors: Iterable[tuple[str, torch.Tensor]], steps: int, scale: dict[str, Any]) -> None:
        """Take up what was saved after so many steps, in memory that DeepSpeed makes at a first step, which learns nothing."""
        import torch

        for group in self._adam.param_groups:
            group["lr"] = 0.0
        place = torch.zeros((1, 2), dtype=torch.long, device=self._engine.device)
        self.backward(self._engine.module(input_ids=place).logits.float().sum() * 0, last=True)
        self._engine.step()
        super().load(tensors, steps, scale)

    def remember(self, what: str, name: str, value: torch.Tensor) -> None:
        """Take up AdamW's memory of one weight."""
        from deepspeed.utils import safe_set_full_optimizer_state

        if what in _MOMENTS:
            safe_set_full_optimizer_state(self.learnt[name], value, what)
        else:
            self._set_counts(int(value))

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Put weights in the place of those that are there: those that a step changes, and those that the next pass reads."""
        import deepspeed
        from deepspeed.utils import safe_set_full_fp32_param

        for name, value in weights:
            part = self.learnt[name]
            safe_set_full_fp32_param(part, value)
            with deepspeed.zero.GatheredParameters([part], modifier_rank=0):
                part.data.copy_(value)
