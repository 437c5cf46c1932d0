"""Modules that keep less for the backward pass than transformers' own, and compute the same.

A norm keeps its input once, in the format that it came in, and a gated layer keeps what goes into its product, not the product:
little work to make again, and a third of what a step keeps. Which modules are of these kinds is tried, not guessed: a class has
to compute what it is taken for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextmanager
def kept_small(model: Any) -> Iterator[None]:
    """Let a model's norms and gated layers keep little while the context lasts."""
    taken = []
    for module in model.modules():
        lean = _norm if _is_norm(type(module)) else _gated if _is_gated(type(module)) and _with_silu(module) else None
        if lean is not None and "forward" not in vars(module):
            module.forward = lean.__get__(module)
            taken.append(module)
    try:
        yield
    finally:
        for module in taken:
            del module.forward


@cache
def _is_norm(kind: type) -> bool:
    """Say whether a class is a root-mean-square norm that multiplies with its weight in the format of its input."""
    import torch

    if not kind.__name__.endswith("RMSNorm"):
        return False
    try:
        with torch.device("cpu"), torch.no_grad():  # a caller may be on `meta`
            own = kind(8, eps=1e-5)
            own.weight.data = torch.linspace(0.5, 1.5, 8)
            sample = torch.linspace(-3, 3, 32).reshape(4, 8).bfloat16()
            expected = kind.forward(own.bfloat16(), sample)
            return own.variance_epsilon == 1e-5 and bool(torch.equal(_norm(own, sample), expected))
    except Exception:  # noqa: BLE001 - a class of another kind may fail in any way
        return False


@cache
def _is_gated(kind: type) -> bool:
    """Say whether a class computes down_proj(act_fn(gate_proj(x)) * up_proj(x)) and nothing else."""
    import torch

    if not kind.__name__.endswith("MLP"):
        return False
    try:
        with torch.device("cpu"), torch.no_grad():
            own = torch.nn.Module.__new__(kind)
            torch.nn.Module.__init__(own)
            own.gate_proj, own.up_proj, own.down_proj = (torch.nn.Linear(4, 4) for _ in range(3))
            own.act_fn = torch.nn.SiLU()
            sample = torch.linspace(-3, 3, 8).reshape(2, 4)
            return bool(torch.equal(kind.forward(own, sample), _gated(own, sample)))
    except Exception:  # noqa: BLE001 - a class of another kind may fail in any way
        return False


def _with_silu(module: Any) -> bool:
    import torch

    return type(module.act_fn).__name__ in ("SiLU", "SiLUActivation") and isinstance(module.act_fn, torch.nn.Module)


def _norm(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    made: torch.Tensor = _functions()[0].apply(hidden_states, self.weight, self.variance_epsilon)
    return made


def _gated(self: Any, x: torch.Tensor) -> torch.Tensor:
    import torch

    gate, up = self.gate_proj(x), self.up_proj(x)
    product = _functions()[1].apply(gate, up)
    place, size, parts = product.untyped_storage().data_ptr(), product.numel(), (gate.detach(), up.detach())

    def pack(tensor: torch.Tensor) -> Any:
        whole = tensor.untyped_storage().data_ptr() == place and tensor.numel() == size and tensor.is_contiguous()
        return tensor.shape if whole else tensor

    def unpack(kept: Any) -> torch.Tensor:
        return kept if isinstance(kept, torch.Tensor) else (torch.nn.functional.silu(parts[0]) * parts[1]).view(kept)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        made: torch.Tensor = self.down_proj(product)
    return made


@cache
def _functions() -> tuple[Any, Any]:
    import torch

    class Norm(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: Any, weight: Any, epsilon: float) -> Any:
            wide = hidden.float()
            spread = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
            ctx.save_for_backward(hidden, weight, spread)
            return weight * (wide * spread).to(hidden.dtype)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:  # type: ignore[override]
            hidden, weight, spread = ctx.saved_tensors
            normed = hidden.float().mul_(spread) if hidden.dtype != torch.float32 else hidden * spread
            of_weight = (grad.float() * normed).flatten(0, -2).sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
            wide = (grad * weight).float()
            mean = (wide * normed).mean(-1, keepdim=True)
            return wide.sub_(normed.mul_(mean)).mul_(spread).to(hidden.dtype), of_weight, None

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, gate: Any, up: Any) -> Any:
            ctx.save_for_backward(gate, up)
            return torch.nn.functional.silu(gate).mul_(up)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:  # type: ignore[override]
            gate, up = ctx.saved_tensors
            of_up = torch.nn.functional.silu(gate).mul_(grad)
            of_gate = torch.ops.aten.silu_backward(grad * up, gate)
            return of_gate, of_up

    return Norm, Product
