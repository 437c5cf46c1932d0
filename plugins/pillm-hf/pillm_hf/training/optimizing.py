"""AdamW over what is learnt, its learning rates, and its state as tensors that a checkpoint can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from pillm_hf.trainers.finetuning import FineTuning

_WEIGHT, _STATE = "weight:", "optimizer:"


class Optimizer:
    """One optimiser step after another; everything it remembers is in `tensors` and `scale`."""

    def __init__(self, model: Any, options: FineTuning, dtype: torch.dtype) -> None:
        import torch

        self.learnt = {name: part for name, part in model.named_parameters() if part.requires_grad}
        groups = _groups(model, getattr(options, "embedding_learning_rate", None))
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

    def backward(self, loss: torch.Tensor) -> None:
        """Add a loss's gradients to those that are there."""
        self._scaler.scale(loss).backward()

    def norm(self) -> float:
        """Scale the gradients down to the norm that the options allow, and return what it was."""
        import torch

        self._scaler.unscale_(self._adam)
        return float(torch.nn.utils.clip_grad_norm_(self.learnt.values(), self._options.max_grad_norm))

    def step(self) -> None:
        """Take a step, and forget the gradients."""
        self._scaler.step(self._adam)
        self._scaler.update()
        self._adam.zero_grad(set_to_none=True)
        self.steps += 1
        self._set_rates(self.steps)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return what is learnt by its name."""
        return {name: part.detach() for name, part in self.learnt.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return weights and AdamW's memory of them."""
        kept = {_WEIGHT + name: part for name, part in self.weights().items()}
        for name, part in self.learnt.items():
            for what, value in self._adam.state[part].items():
                kept[f"{_STATE}{what}:{name}"] = value
        return kept

    def scale(self) -> dict[str, Any]:
        """Return the state of the gradient scaler as JSON; empty where there is none."""
        return dict(self._scaler.state_dict())

    def load(self, tensors: Mapping[str, torch.Tensor], steps: int, scale: dict[str, Any]) -> None:
        """Take up what `tensors` and `scale` returned after so many steps."""
        self.load_weights({name.removeprefix(_WEIGHT): value for name, value in tensors.items() if name.startswith(_WEIGHT)})
        for name, part in self.learnt.items():
            for key in [key for key in tensors if key.startswith(_STATE) and key.endswith(f":{name}")]:
                what = key.removeprefix(_STATE).removesuffix(f":{name}")
                self._adam.state[part][what] = tensors[key].to(part.device).clone()
        if scale:
            self._scaler.load_state_dict(scale)
        self.steps = steps
        self._set_rates(steps)

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Put weights in the place of those that are there."""
        import torch

        with torch.no_grad():
            for name, part in self.learnt.items():
                part.copy_(weights[name])


def _constant(_step: int) -> float:
    return 1.0


def _groups(model: Any, embedding_rate: float | None) -> list[dict[str, Any]]:
    """Return what is learnt, the tables of tokens apart where they have a learning rate of their own."""
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if embedding_rate is None:
        return [{"params": learnt}]
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    tables = {id(layer.weight) for layer in layers if layer is not None}
    return [
        {"params": [parameter for parameter in learnt if id(parameter) not in tables]},
        {"params": [parameter for parameter in learnt if id(parameter) in tables], "lr": embedding_rate},
    ]
