"""A layer with an adapter while its weights are rounded: the sum of base and adapter is, and the adapter learns through it.

With y = x R' and R the rounded sum of the base's weight and s B A, a straight-through estimator passes the gradient of R on
to that sum. Its parts for A and B are products of the activations: the gradient of the whole matrix is never there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Adapter:
    """What is learnt of a layer: A [rank, in], B [out, rank] and, in DoRA, the rows' magnitudes [out]."""

    a: Any
    b: Any
    scale: float
    magnitude: Any | None

    @classmethod
    def of(cls, layer: Any) -> Adapter:
        """Return the one adapter of a peft layer."""
        (name,) = layer.active_adapters
        found = layer.lora_magnitude_vector
        magnitude = found[name].weight if name in found else None
        return cls(layer.lora_A[name].weight, layer.lora_B[name].weight, float(layer.scaling[name]), magnitude)


def effective(layer: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the weight [out, in] in float32 that base and adapter of a peft layer amount to, and DoRA's factors [out]."""
    import torch

    adapter = Adapter.of(layer)
    with torch.no_grad():
        weight = torch.addmm(layer.base_layer.weight.float(), adapter.b.float(), adapter.a.float(), alpha=adapter.scale)
        if adapter.magnitude is None:
            return weight, None
        factors = adapter.magnitude.float() / weight.norm(dim=1)
        return weight.mul_(factors[:, None]), factors


def merge(model: Any, dtype: torch.dtype) -> Any:
    """Return the model inside its adapters, each layer with the weight that it amounts to in a 16-bit format."""
    for layer in model.modules():
        if hasattr(layer, "lora_A") and hasattr(layer, "base_layer"):
            layer.base_layer.weight.data = effective(layer)[0].to(dtype)
    return model.unload()


def forward_with(layer: Any, weight: torch.Tensor, factors: torch.Tensor | None) -> Any:
    """Return what takes the place of a peft layer's forward pass: a product with `weight`, learnt by the adapter."""
    adapter, bias = Adapter.of(layer), layer.base_layer.bias

    def forward(x: Any, *_: Any, **__: Any) -> Any:
        return _function().apply(x, weight, bias, adapter.a, adapter.b, adapter.magnitude, adapter.scale, factors)

    return forward


@cache
def _function() -> Any:
    import torch

    class Straight(torch.autograd.Function):
        """x [..., in] times a rounded weight [out, in]; gradients go to x, A, B and the magnitudes."""

        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, magnitude: Any, scale: Any, factors: Any) -> Any:
            with torch.autocast(x.device.type, enabled=False):
                given = x.to(weight.dtype)
                made = torch.nn.functional.linear(given, weight)
            ctx.save_for_backward(given, weight, a, b, magnitude, made if magnitude is not None else None, factors)
            ctx.scale, ctx.kind = scale, x.dtype
            return made if bias is None else made + bias.to(made.dtype)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:  # type: ignore[override]
            x, weight, a, b, magnitude, made, factors = ctx.saved_tensors
            with torch.autocast(grad.device.type, enabled=False):
                grad = grad.to(weight.dtype)
                of_x = (grad @ weight).to(ctx.kind) if ctx.needs_input_grad[0] else None
                rows, given = grad.flatten(0, -2), x.flatten(0, -2)
                of_magnitude = None
                if magnitude is not None:
                    of_magnitude = (rows.float() * made.flatten(0, -2).float()).sum(0) / magnitude
                    rows = rows * factors.to(rows.dtype)
                inner = given @ a.to(given.dtype).T
                of_b = (rows.T @ inner).to(b.dtype).mul_(ctx.scale)
                of_a = ((rows @ b.to(rows.dtype)).T @ given).to(a.dtype).mul_(ctx.scale)
            return of_x, None, None, of_a, of_b, of_magnitude, None, None

    return Straight
