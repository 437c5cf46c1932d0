"""Attention that makes its weights again gives what plain attention gives, and keeps none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pillm_hf import Full
from pillm_hf.training import attention, students

Make = Callable[..., Any]
PLAIN = ["gemma3_text", "granite", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3"]


@pytest.mark.parametrize("kind", PLAIN)
def test_loss_and_gradients_are_those_of_plain_attention(kind: str, student_of: Make, gradients: Make) -> None:
    import torch

    model = student_of(kind)
    loss, wanted = gradients(model)
    attention.use(model)
    assert model.config._attn_implementation == attention.NAME
    again, found = gradients(model)
    assert again == pytest.approx(loss, rel=1e-5)
    assert found.keys() == wanted.keys()
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-3, atol=1e-5 * float(grad.abs().max()) + 1e-7)


def test_a_padded_row_is_masked_as_by_plain_attention(student_of: Make, tokens: Make) -> None:
    import torch

    model, ids = student_of("qwen2").eval(), tokens()
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=mask).logits
        attention.use(model)
        found = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found[1:], wanted[1:])
    torch.testing.assert_close(found[0, 5:], wanted[0, 5:])


def test_in_bfloat16_it_differs_from_plain_attention_by_rounding_only(student_of: Make, gradients: Make) -> None:
    import torch

    model = student_of("qwen2")
    exact = gradients(model)[1]
    errors = []
    for change in (lambda: None, lambda: attention.use(model)):
        change()
        with torch.autocast("cpu", torch.bfloat16):
            found = gradients(model)[1]
        errors.append(sum(float((found[name] - grad).norm()) for name, grad in exact.items()))
    assert errors[1] < 1.2 * errors[0]


def test_nothing_that_grows_with_the_square_of_the_length_is_kept(student_of: Make, tokens: Make) -> None:
    import torch

    model, ids = student_of("qwen2"), tokens(2, 60)
    kept: dict[str, int] = {}
    for name, change in (("plain", lambda: None), ("recomputed", lambda: attention.use(model))):
        change()
        kept[name] = 0

        def note(tensor: Any, name: str = name) -> Any:
            kept[name] += tensor.shape[-2:] == (60, 60) and tensor.numel() > 60 * 60
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(input_ids=ids, use_cache=False)
    assert kept["plain"] >= 2
    assert kept["recomputed"] == 0


@pytest.mark.parametrize("change", [{"attn_logit_softcapping": 50.0}, {"attention_dropout": 0.1}])
def test_attention_of_another_kind_is_left_alone(change: dict[str, float], student_of: Make) -> None:
    model = student_of("qwen2")
    for name, value in change.items():
        setattr(model.config, name, value)
    attention.use(model)
    assert model.config._attn_implementation == "eager"


def test_capped_attention_of_gemma_2_is_left_alone(student_of: Make) -> None:
    model = student_of("gemma2")
    attention.use(model)
    assert model.config._attn_implementation == "eager"


def test_a_students_folder_does_not_say_how_it_attended_while_it_was_trained(base: Path, tmp_path: Path) -> None:
    model, _ = students.build(Full(base=str(base)), base, print)
    assert model.config._attn_implementation == attention.NAME
    model.save_pretrained(tmp_path)
    assert attention.NAME not in (tmp_path / "config.json").read_text("utf-8")


def test_rows_taken_together_or_one_by_one_give_the_same(
    student_of: Make, gradients: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model = student_of("qwen2")
    attention.use(model)
    _, together = gradients(model)
    monkeypatch.setattr(attention, "_BYTES", 1)
    _, apart = gradients(model)
    for name, grad in together.items():
        torch.testing.assert_close(apart[name], grad)
