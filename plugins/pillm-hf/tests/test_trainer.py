"""The trainers' options: presets, text, and what an identity is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from pillm_hf import LoRA, QLoRA

import pillm


def test_an_option_that_is_given_beats_its_preset() -> None:
    made = LoRA(base="x", preset="turing-safe", rank=5, double_quant=False)
    assert (made.rank, made.double_quant) == (5, False)
    assert (made.alpha, made.dropout, made.compute_dtype, made.load_in_4bit) == (64, 0.1, "float16", True)
    assert "gate_proj" not in QLoRA(base="x", preset="ada-memory").target_modules
    assert not LoRA(base="x", preset="ampere-balanced", load_in_4bit=False).load_in_4bit


def test_options_come_from_text_too() -> None:
    made = pillm.trainer("lora", base="x", target_modules="q_proj,v_proj", learning_rate="1e-3", rank="8")
    assert made.target_modules == ["q_proj", "v_proj"]
    assert pillm.trainer("lora", base="x", target_modules="all-linear").target_modules == "all-linear"
    assert pillm.trainer("qlora", base="x", preset="ada-memory").quant_type == "fp4"
    with pytest.raises(pillm.ConfigError, match="rank"):
        pillm.trainer("lora", base="x", rank=0)


def test_the_identity_follows_the_base_and_not_the_log_interval(base: Path, qwen: Path) -> None:
    one = LoRA(base=str(base)).identity()
    assert LoRA(base=str(base), logging_steps=3, device_map="cpu").identity() == one
    assert LoRA(base=str(qwen)).identity() != one
    assert LoRA(base=str(base)).base_checkpoint() == pillm.Checkpoint(path=base, name=base.name)
    assert LoRA(base=str(base)).base_checkpoint(fetch=False) == pillm.Checkpoint(path=base, name=base.name)
