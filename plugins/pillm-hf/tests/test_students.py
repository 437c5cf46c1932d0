"""The student that is trained: its number formats, and the gradients of its 4-bit weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pillm_hf import QLoRA
from pillm_hf.losses.batches import collate
from pillm_hf.losses.loss import summed_loss
from pillm_hf.models.loading import load_model
from pillm_hf.rows.text import Encoded
from pillm_hf.training import students


def test_a_dtype_that_is_given_beats_the_presets_format(base: Path) -> None:
    made = QLoRA(base=str(base), preset="turing-safe", dtype="float32", target_modules=["q_proj"])
    assert made.compute_dtype == "auto"
    assert students.build(made, base, pytest.fail)[1] == torch.float32
    assert QLoRA(base="x", preset="turing-safe", dtype="float32", compute_dtype="bfloat16").compute_dtype == "bfloat16"


def test_rounding_to_16_bit_leaves_the_rotary_frequencies_alone(base: Path) -> None:
    model = students.in_16_bit(load_model(base, torch.float32), torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert {buffer.dtype for buffer in model.buffers()} == {torch.float32}


def test_4_bit_weights_keep_their_gradients_after_a_validation(base: Path) -> None:
    model, _ = students.build(QLoRA(base=str(base), target_modules=["q_proj"]), base, print)
    batch = collate([Encoded("x", (), "", list(range(3, 19)), 4, 16)], 0)

    def gradient() -> torch.Tensor:
        model.zero_grad()
        summed_loss(model.train(), batch).backward()
        return torch.cat([part.grad.flatten() for part in model.parameters() if part.requires_grad])

    before = gradient()
    with torch.no_grad():
        summed_loss(model.eval(), batch)
    torch.testing.assert_close(gradient(), before)
