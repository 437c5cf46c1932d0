"""The output head and the cross-entropy in one: the same loss and gradients as a plain model's, in less memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf.losses import head as head_module
from pillm_hf.losses.batches import Batch, collate
from pillm_hf.losses.divergences import Divergence, with_rest
from pillm_hf.losses.head import logits_bytes, scored, split_off
from pillm_hf.losses.lessons import Outcomes
from pillm_hf.losses.loss import kept_logits, summed_loss
from pillm_hf.models.loading import load_model
from pillm_hf.rows.text import Encoded


def batch(lesson: Any = None) -> Batch:
    rows = []
    for number, (length, answer) in enumerate(((9, 3), (30, 11), (17, 1))):
        ids = [3 + (number * 31 + place * 7) % 200 for place in range(length)]
        rows.append(Encoded(str(number), (), "", ids, length - answer, length))
    return replace(collate(rows, 0), lesson=lesson)


@pytest.mark.parametrize("piece_bytes", [1, 4 * 320 * 4, 2**30])
def test_loss_and_gradients_are_those_of_the_plain_model(base: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int) -> None:
    monkeypatch.setattr(head_module, "PIECE_BYTES", piece_bytes)
    model = load_model(base, torch.float32)
    summed_loss(model, batch()).mul(0.25).backward()
    expected = {name: part.grad.clone() for name, part in model.named_parameters()}
    model.zero_grad()
    with split_off(model, torch.float32, batch()) as head:
        assert head is not None
        loss = head.summed_loss(model, batch())
        loss.mul(0.25).backward()
    torch.testing.assert_close(loss, summed_loss(model, batch()), rtol=1e-5, atol=1e-5)
    for name, part in model.named_parameters():
        torch.testing.assert_close(part.grad, expected[name], rtol=1e-4, atol=1e-5)


def test_the_head_is_back_when_the_training_has_ended(base: Path) -> None:
    model = load_model(base, torch.float32)
    before = kept_logits(model, batch())
    with split_off(model, torch.float32, batch()):
        assert kept_logits(model, batch()).shape[-1] == model.config.hidden_size
    torch.testing.assert_close(kept_logits(model, batch()), before)


def test_a_frozen_head_gets_no_gradient(base: Path) -> None:
    model = load_model(base, torch.float32).requires_grad_(False)
    norm = model.model.layers[-1].mlp.down_proj.weight.requires_grad_(True)
    with split_off(model, torch.float32, batch()) as head:
        assert head is not None
        head.summed_loss(model, batch()).backward()
    assert norm.grad is not None
    assert model.get_output_embeddings().weight.grad is None


def test_what_comes_after_the_head_is_seen_and_keeps_it_whole() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 16}
    config = Gemma2Config(vocab_size=320, num_key_value_heads=2, final_logit_softcapping=0.1, **shape)
    model = Gemma2ForCausalLM(config).eval()
    with split_off(model, torch.float32, batch()) as head:
        assert head is None
        assert kept_logits(model, batch()).shape[-1] == 320


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("llama", {}), ("gemma2", {}), ("gemma2", {"final_logit_softcapping": None}), ("cohere", {}),
        ("cohere", {"logit_scale": 1.0}), ("granite", {}), ("granite", {"logits_scaling": 8.0}),
    ],
)  # fmt: skip
def test_memory_is_planned_for_a_piece_of_the_logits_only_where_they_are_made_by_pieces(
    kind: str, more: dict[str, Any], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    monkeypatch.setattr(head_module, "PIECE_BYTES", 1)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 16}
    config = AutoConfig.for_model(kind, vocab_size=320, num_key_value_heads=2, initializer_range=0.5, **shape | more)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    if kind == "gemma2" and not more:
        config.final_logit_softcapping = 0.1  # logits of a tiny model are too small for a cap of 30
    planned = logits_bytes(model, batch(), dtype)
    with split_off(model, dtype, batch()) as head:
        assert (planned == 2) is (head is not None)
    assert planned == 2 or planned >= 320 * batch().answer_tokens * 12


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks for it
def test_an_adapter_on_the_head_is_planned_with_whole_logits(student_of: Any) -> None:
    from peft import LoraConfig, get_peft_model

    plain, kept = student_of("llama"), batch().labels.numel()
    whole = 96 * (4 * kept + 8 * batch().answer_tokens)
    assert logits_bytes(plain, batch(), torch.float32) == 2 * 4 * 96 * kept
    assert logits_bytes(plain, batch(), torch.float32, splits=False) == whole
    adapted = get_peft_model(plain, LoraConfig(target_modules=["lm_head"]))
    assert logits_bytes(adapted, batch(), torch.float32) == whole


def test_scores_are_the_same_with_the_head_and_without(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "PIECE_BYTES", 4 * 320 * 4)
    model = load_model(base, torch.float32)
    with torch.no_grad():
        whole = scored(model, None, batch())
        with split_off(model, torch.float32, batch()) as head:
            assert scored(model, head, batch()) == pytest.approx(whole, rel=1e-5)
        assert whole[0] == pytest.approx(float(summed_loss(model, batch())), rel=1e-5)


@pytest.mark.parametrize("shape", [(300, 15_193), (7, 4_099), (1, 33)])
def test_logarithms_of_shares_may_be_written_over_the_logits(shape: tuple[int, int]) -> None:
    """What the loss relies on: the kernel reads a row before it writes it, at every width."""
    logits = torch.randn(shape) * 5
    expected = logits.log_softmax(-1)
    torch.ops.aten._log_softmax.out(logits, -1, False, out=logits)
    torch.testing.assert_close(logits, expected)


def lesson_of(weight: float) -> Outcomes:
    generator = torch.Generator().manual_seed(4)
    teacher = (torch.randn(15, 300, generator=generator) * 3).log_softmax(-1).topk(8)
    return Outcomes(torch.full((15,), weight), teacher.indices, with_rest(teacher.values), Divergence())


@pytest.mark.parametrize("block", [1, 3 * 320, 2**22])
@pytest.mark.parametrize("piece_bytes", [4 * 320 * 4, 2**30])
def test_the_head_learns_it_by_pieces_as_the_plain_model_does(
    base: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int, block: int
) -> None:
    monkeypatch.setattr(head_module, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(head_module, "_BLOCK", block)
    model = load_model(base, torch.float32)
    expected = summed_loss(model, batch(lesson_of(0.6)))
    expected.mul(0.25).backward()
    wanted = {name: part.grad.clone() for name, part in model.named_parameters()}
    model.zero_grad()
    with split_off(model, torch.float32, batch()) as head:
        assert head is not None
        loss = head.summed_loss(model, batch(lesson_of(0.6)))
        loss.mul(0.25).backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for name, part in model.named_parameters():
        torch.testing.assert_close(part.grad, wanted[name], rtol=1e-4, atol=1e-5)


def test_with_nothing_of_the_divergence_it_is_the_labels_loss(base: Path) -> None:
    model = load_model(base, torch.float32)
    plain = summed_loss(model, batch())
    torch.testing.assert_close(summed_loss(model, batch(lesson_of(0.0))), plain, rtol=1e-6, atol=1e-5)
    with split_off(model, torch.float32, batch()) as head:
        assert head is not None
        torch.testing.assert_close(head.summed_loss(model, batch(lesson_of(0.0))), plain, rtol=1e-6, atol=1e-5)
        learnt = head.summed_loss(model, batch(lesson_of(1.0)))
        assert abs(float(learnt.detach()) / float(plain.detach()) - 1) > 1e-2


def test_the_head_is_back_while_a_student_answers(base: Path) -> None:
    model = load_model(base, torch.float32)
    ids = batch().ids
    before = model(input_ids=ids).logits
    with split_off(model, torch.float32, batch()) as head:
        assert head is not None
        with head.back():
            torch.testing.assert_close(model(input_ids=ids).logits, before)
        assert model(input_ids=ids).logits.shape[-1] == model.config.hidden_size
