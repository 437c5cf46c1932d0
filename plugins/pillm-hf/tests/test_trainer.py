"""The trainers' options: presets, text, and what an identity is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from pillm_hf import Full, HFRunner, HFTeacher, LoRA, QLoRA

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


def test_4_bit_weights_are_refused_at_once_where_bitsandbytes_is_missing(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pillm_hf.quantizing.find_spec", lambda name: None)
    for backend in (QLoRA(base=str(base)), HFTeacher(model=str(base), load_in="4bit"), HFRunner(load_in="8bit")):
        with pytest.raises(pillm.MissingDependency, match=r"pillm-hf\[quant\]"):
            backend.check()
    for fine in (LoRA(base=str(base)), HFTeacher(model=str(base)), HFRunner()):
        fine.check()


def test_a_gpu_that_is_not_here_is_refused_at_once(base: Path) -> None:
    place = {"device_map": "cuda:63"}
    for backend in (Full(base=str(base), **place), HFTeacher(model=str(base), **place), HFRunner(**place)):
        with pytest.raises(pillm.ConfigError, match="device_map=cuda:63: this machine has"):
            backend.check()


@pytest.mark.parametrize("option", [{"quant_type": "fp4"}, {"double_quant": False}, {"compute_dtype": "float16"}])
def test_what_only_4_bit_weights_use_is_refused_without_them(option: dict[str, object]) -> None:
    (name,) = option
    preset = {"preset": "ada-memory", "load_in_4bit": 0}
    for trainer, more in (("lora", {}), ("qlora", {"load_in_4bit": "false"}), ("dora", preset)):
        with pytest.raises(pillm.ConfigError, match=rf"trainer '{trainer}': {name} only counts with load_in_4bit"):
            pillm.trainer(trainer, base="x", **option, **more)
    for trainer, more in (("qlora", {}), ("lora", {"load_in_4bit": True}), ("lora", {"preset": "turing-safe"})):
        assert getattr(pillm.trainer(trainer, base="x", **option, **more), name) == option[name]


def test_a_preset_held_in_16_bit_keeps_nothing_of_its_4_bits(base: Path) -> None:
    made = LoRA(base=str(base), preset="ada-memory", load_in_4bit=False)
    assert (made.rank, made.quant_type, made.double_quant, made.compute_dtype) == (16, "nf4", True, "auto")
    assert not {"quant_type", "double_quant", "compute_dtype"} & made.identity().keys()


@pytest.mark.parametrize("made", [LoRA(base="x"), QLoRA(base="x", preset="ada-memory"), LoRA(base="x", preset="turing-safe")])
def test_a_trainer_is_the_same_with_every_option_spelt_out(made: LoRA) -> None:
    options = {name: value for name, value in made.options().items() if name != "use"}
    assert pillm.trainer(made.name, **options) == made
