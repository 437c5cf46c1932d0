"""Norms and gated layers that keep less for the backward pass compute what transformers' own do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pillm_hf.models.loading import quiet
from pillm_hf.training import activations
from pillm_hf.training.activations import kept_small

Make = Callable[..., Any]
LEAN = ["llama", "mistral", "qwen2", "qwen3", "smollm3", "granite"]
KINDS = [*LEAN, "gemma2", "gemma3_text", "olmo2", "phi3"]


def kept_bytes(model: Any, ids: Any) -> int:
    """Return what a forward pass keeps, weights not counted."""
    import torch

    own = {part.untyped_storage().data_ptr() for part in model.parameters()}
    found: dict[int, Any] = {}

    def note(tensor: Any) -> Any:
        found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(input_ids=ids, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in found.items() if place not in own)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_the_models_own_modules(kind: str, student_of: Make, gradients: Make) -> None:
    import torch

    model = student_of(kind)
    loss, wanted = gradients(model)
    with kept_small(model):
        again, found = gradients(model)
    assert again == pytest.approx(loss, rel=1e-6)
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-3, atol=1e-5 * float(grad.abs().max()) + 1e-7)


@pytest.mark.parametrize("kind", LEAN)
def test_less_is_kept(kind: str, student_of: Make, tokens: Make) -> None:
    model, ids = student_of(kind, "bfloat16"), tokens()
    before = kept_bytes(model, ids)
    with kept_small(model):
        assert kept_bytes(model, ids) < 0.8 * before


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_itself_again_afterwards(kind: str, student_of: Make) -> None:
    model = student_of(kind)
    with kept_small(model):
        pass
    assert not any("forward" in vars(module) for module in model.modules())


def test_gradients_with_adapters_are_the_same(student_of: Make, gradients: Make) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    with quiet():
        model = get_peft_model(student_of("qwen2"), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    _, wanted = gradients(model)
    with kept_small(model):
        _, found = gradients(model)
    assert len(wanted) == 28
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-3, atol=1e-6)


def test_a_norm_that_adds_one_to_its_weight_is_not_taken_for_a_plain_one(student_of: Make) -> None:
    model = student_of("gemma3_text")
    norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    with kept_small(model):
        assert norms
        assert not any("forward" in vars(module) for module in norms)


def test_a_class_that_is_first_met_on_meta_is_known_for_what_it_is(student_of: Make) -> None:
    import torch

    activations._is_norm.cache_clear()
    activations._is_gated.cache_clear()
    model = student_of("llama")
    with torch.device("meta"), kept_small(model):
        assert sum("forward" in vars(module) for module in model.modules()) == 2 * 3 + 1
