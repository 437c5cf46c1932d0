"""AdamW over what is learnt, its learning rates, and its state as tensors that a checkpoint can hold."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pillm_hf.training.processes import ALONE, Processes

if TYPE_CHECKING:
    import torch

    from pillm_hf.options.finetuning import FineTuning

_WEIGHT, _STATE = "weight:", "optimizer:"
_UNDECAYED = re.compile(r"bias|layernorm|rmsnorm|(^|[._])norm($|\.)", re.IGNORECASE)  # as transformers' Trainer has it


class Optimizer:
    """One optimiser step after another; everything it remembers is in `tensors` and `scale`."""

    def __init__(self, model: Any, options: FineTuning, dtype: torch.dtype, processes: Processes = ALONE) -> None:
        import torch

        self._processes = processes
        self.learnt = {name: part for name, part in model.named_parameters() if part.requires_grad}
        groups = _groups(model, self.learnt, getattr(options, "embedding_learning_rate", None))
        self._adam = torch.optim.AdamW(groups, lr=options.learning_rate, weight_decay=options.weight_decay, fused=True)
        # float16 gradients underflow without scaling; bfloat16 has float32's range
        self.scales = dtype == torch.float16
        self._scaler = torch.amp.GradScaler(model.device.type, enabled=self.scales)
        self._options, self._factor = options, _constant
        self._rates = [float(group["lr"]) for group in self._adam.param_groups]
        self.steps = 0
        """How many steps were taken."""

    def schedule(self, total: int) -> None:
        """Let the learning rates follow the options' scheduler over so many steps."""
        from transformers import get_scheduler

        warmup = math.ceil(self._options.warmup_ratio * total)
        made = get_scheduler(self._options.lr_scheduler_type, self._adam, warmup, total)
        self._factor = made.lr_lambdas[0]
        self._set_rates(0)

    def _set_rates(self, step: int) -> None:
        for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._factor(step)

    @property
    def learning_rate(self) -> float:
        """Return the learning rate of the next step."""
        return float(self._adam.param_groups[0]["lr"])

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        """Add a loss's gradients to those that are there; say whether it is the last one of a step."""
        self._scaler.scale(loss).backward()

    def norm(self) -> float:
        """Scale the gradients down to the norm that the options allow, and return what it was."""
        import torch

        self._processes.sum_gradients(self.learnt.values())
        self._scaler.unscale_(self._adam)
        norm = torch.nn.utils.clip_grad_norm_(self.learnt.values(), self._options.max_grad_norm)
        return float(getattr(norm, "full_tensor", lambda: norm)())

    def step(self) -> None:
        """Take a step, and forget the gradients."""
        self._scaler.step(self._adam)
        self._scaler.update()
        self._adam.zero_grad(set_to_none=True)
        self.steps += 1
        self._set_rates(self.steps)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return what is learnt by its name, whole; nothing where this process does not write."""
        return self._whole({name: part.detach() for name, part in self.learnt.items()})

    def _whole(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found = ((name, self._processes.whole(tensor)) for name, tensor in tensors.items())
        return {name: tensor for name, tensor in found if tensor is not None}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return weights and AdamW's memory of them."""
        kept = {_WEIGHT + name: part for name, part in self.weights().items()}
        return kept | {_STATE + name: value for name, value in self.memory().items()}

    def memory(self) -> dict[str, torch.Tensor]:
        """Return AdamW's memory as `what:name`, whole; nothing where this process does not write."""
        states = ((name, self._adam.state[part].items()) for name, part in self.learnt.items())
        return self._whole({f"{what}:{name}": value for name, state in states for what, value in state})

    def scale(self) -> dict[str, Any]:
        """Return the state of the gradient scaler as JSON; empty where there is none."""
        return dict(self._scaler.state_dict())

    def load(self, tensors: Iterable[tuple[str, torch.Tensor]], steps: int, scale: dict[str, Any]) -> None:
        """Take up what `tensors` and `scale` returned after so many steps; names of other things are passed over."""
        for key, value in tensors:
            if key.startswith(_WEIGHT):
                self.load_weights([(key.removeprefix(_WEIGHT), value)])
            elif key.startswith(_STATE):
                what, _, name = key.removeprefix(_STATE).partition(":")
                self.remember(what, name, value)
        if scale:
            self._scaler.load_state_dict(scale)
        self.steps = steps
        self._set_rates(steps)

    def remember(self, what: str, name: str, value: torch.Tensor) -> None:
        """Take up AdamW's memory of one weight."""
        part = self.learnt[name]
        self._adam.state[part][what] = self._processes.like(value, part)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Put weights in the place of those that are there."""
        import torch

        with torch.no_grad():
            for name, value in weights:
                part = self.learnt[name]
                part.copy_(self._processes.like(value, part))


def _constant(_step: int) -> float:
    return 1.0


def _groups(model: Any, learnt: dict[str, torch.Tensor], embedding_rate: float | None) -> list[dict[str, Any]]:
    """Return what is learnt in groups: what weight decay spares, and tables of tokens that have a rate of their own, apart."""
    layers = () if embedding_rate is None else (model.get_input_embeddings(), model.get_output_embeddings())
    tables = {id(layer.weight) for layer in layers if layer is not None}
    others = {name: part for name, part in learnt.items() if id(part) not in tables}
    spared = {name for name, part in others.items() if _is_spared(name, part)}
    groups: list[dict[str, Any]] = [
        {"params": [part for name, part in others.items() if name not in spared]},
        {"params": [part for name, part in others.items() if name in spared], "weight_decay": 0.0},
        {"params": [part for part in learnt.values() if id(part) in tables], "lr": embedding_rate},
    ]
    return [group for group in groups if group["params"]]


def _is_spared(name: str, part: torch.Tensor) -> bool:
    """Return whether weight decay leaves a parameter alone: a norm's, a bias, or any other with one dimension."""
    shape = getattr(part, "ds_shape", part.shape)  # one that DeepSpeed parted lies flat, and remembers how it was
    return len(shape) < 2 or bool(_UNDECAYED.search(name))
