"""The last part of a training, in which the student multiplies with its weights as the file that ships will hold them.

What the file will hold is made of the 16-bit checkpoint, so the weights are rounded to 16 bit first and then to the grid. The
weights that are learnt stay as they are beside it, and take the gradients of the rounded ones (a straight-through estimator).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pillm_hf.rounding.adapted import effective, forward_with
from pillm_hf.rounding.filetypes import Layer, layers_of
from pillm_hf.rounding.grids import choose, rounded

if TYPE_CHECKING:
    import torch

    from pillm_hf.options.quantization import QuantizationAware

SEARCH_EVERY = 16
"""Steps between two searches for IQ4_NL's scales, which take ten times as long as rounding to scales that are chosen."""
_CHOSEN = "chosen:"


class Finish:
    """Rounds a model's weights while steps of the last part are taken; `half` is the checkpoint's 16-bit format."""

    def __init__(self, model: Any, options: QuantizationAware, dtype: torch.dtype, half: torch.dtype) -> None:
        self.options, self._dtype, self._half = options, dtype, half
        self.layers = layers_of(model, options.type)
        self._weights = sum(part.numel() for name, part in model.named_parameters() if "lora_" not in name)
        self.start = 0
        """Steps that are taken before."""
        self._chosen: dict[str, torch.Tensor] = {}
        self._frozen: dict[str, torch.Tensor] = {}

    def schedule(self, total: int) -> None:
        """Let the last part of so many steps be the options' share of them, and one step at least."""
        self.start = max(0, total - max(1, round(total * self.options.share)))

    def on(self, steps: int) -> bool:
        """Say whether what is done after so many steps is done with rounded weights."""
        return steps >= self.start

    @contextmanager
    def applied(self, steps: int, *, exact: bool) -> Iterator[None]:
        """Multiply with rounded weights while the context lasts, where so many steps are taken.

        `exact` is what ships; without it IQ4_NL keeps what the last search chose for a few steps.
        """
        if not self.on(steps):
            yield
            return
        if (steps - self.start) % SEARCH_EVERY == 0 and not exact:
            self._chosen.clear()
        plain = [(layer, layer.weight.data) for layer in self.layers if not layer.adapted]
        adapted = [layer for layer in self.layers if layer.adapted]
        for layer, weight in plain:
            layer.weight.data = self._of_plain(layer, weight, exact)
        for layer in adapted:
            summed, factors = effective(layer.module)
            made = self._round(layer, summed, exact).to(self._dtype)
            layer.module.forward = forward_with(layer.module, made, factors)
        try:
            yield
        finally:
            for layer, weight in plain:
                layer.weight.data = weight
            for layer in adapted:
                del layer.module.forward

    def _of_plain(self, layer: Layer, weight: torch.Tensor, exact: bool) -> torch.Tensor:
        """Return a layer's own weight rounded; what is not learnt is rounded once."""
        if layer.weight.requires_grad:
            return self._round(layer, weight, exact)
        if layer.name not in self._frozen:
            self._frozen[layer.name] = rounded(weight.to(self._half), layer.grid).to(weight.dtype)
        return self._frozen[layer.name]

    def _round(self, layer: Layer, weight: torch.Tensor, exact: bool) -> torch.Tensor:
        weight = weight.to(self._half)
        if exact or layer.grid != "IQ4_NL":
            return rounded(weight, layer.grid)
        if layer.name not in self._chosen:
            self._chosen[layer.name] = choose(weight)
        return rounded(weight, layer.grid, self._chosen[layer.name])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint must hold for the next steps to be the same."""
        return {_CHOSEN + name: chosen for name, chosen in self._chosen.items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take up what `tensors` returned."""
        here = {layer.name: layer.weight.device for layer in self.layers}
        found = {name.removeprefix(_CHOSEN): value for name, value in tensors.items() if name.startswith(_CHOSEN)}
        self._chosen = {name: value.to(here[name]) for name, value in found.items()}

    def facts(self) -> dict[str, Any]:
        """Return what training.json says: type, the last float step, how many tensors are on which grid, and what share."""
        on_grid = sum(layer.weight.numel() for layer in self.layers)
        return {
            "type": self.options.type,
            "after_step": self.start,
            "tensors": dict(Counter(layer.grid for layer in self.layers)),
            "share_of_weights": round(on_grid / self._weights, 4),
        }
