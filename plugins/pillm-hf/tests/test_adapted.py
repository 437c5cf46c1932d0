"""Layers with adapters whose sum is rounded: their gradients, and the merge that ends in the very same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import LoRA
from pillm_hf.models.loading import load_model
from pillm_hf.rounding.adapted import Adapter, effective, forward_with, merge
from pillm_hf.rounding.grids import rounded
from pillm_hf.training.students import with_adapters


def adapted(base: Path, *, dora: bool) -> Any:
    """Return a model whose adapters are as if they had learnt."""
    model = with_adapters(load_model(base, torch.float32), LoRA(base=str(base), rank=4, use_dora=dora), base)
    torch.manual_seed(2)
    for name, part in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(part, std=0.05)
        if "magnitude" in name:
            part.data *= 1 + 0.1 * torch.rand_like(part)
    return model


def layer_of(model: Any) -> Any:
    return next(part for part in model.modules() if hasattr(part, "lora_A"))


@pytest.mark.parametrize("dora", [False, True])
def test_base_and_adapter_amount_to_what_peft_computes_with_them(base: Path, dora: bool) -> None:
    layer = layer_of(adapted(base, dora=dora)).eval()
    x = torch.randn(5, 64)
    torch.testing.assert_close(x @ effective(layer)[0].T, layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dora", [False, True])
def test_gradients_are_those_of_a_straight_through_estimator_over_the_whole_matrix(base: Path, dora: bool) -> None:
    layer = layer_of(adapted(base, dora=dora))
    adapter = Adapter.of(layer)
    learnt = [part for part in (adapter.a, adapter.b, adapter.magnitude) if part is not None]
    summed, factors = effective(layer)
    weight = rounded(summed, "Q8_0")
    x = torch.randn(2, 5, 64, requires_grad=True)
    toward = torch.randn(2, 5, len(weight))

    made = forward_with(layer, weight, factors)(x)
    ours = torch.autograd.grad((made * toward).sum(), [x, *learnt])

    whole = layer.base_layer.weight + adapter.scale * adapter.b @ adapter.a
    if dora:
        whole = (adapter.magnitude / whole.norm(dim=1).detach())[:, None] * whole
    straight = torch.nn.functional.linear(x, whole + (weight - whole).detach())
    theirs = torch.autograd.grad((straight * toward).sum(), [x, *learnt])
    torch.testing.assert_close(made, straight, rtol=1e-4, atol=1e-5)
    for one, other, part in zip(ours, theirs, [x, *learnt], strict=True):
        scale = float(other.abs().max())
        # what a magnitude learns from is made of the rounded product
        torch.testing.assert_close(one / scale, other / scale, rtol=1e-4, atol=2e-2 if part is adapter.magnitude else 1e-5)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_the_merge_ends_in_the_bits_that_training_rounded(base: Path, dora: bool, half: torch.dtype) -> None:
    model = adapted(base, dora=dora)
    expected = {
        name.removeprefix("base_model.model."): effective(part)[0].to(half)
        for name, part in model.named_modules()
        if hasattr(part, "lora_A")
    }
    merged = merge(model, half)
    assert len(expected) == 14
    for name, weight in expected.items():
        assert torch.equal(merged.get_submodule(name).weight, weight)
