"""The trainers' options: presets, text, and what an identity is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
    monkeypatch.setattr("pillm_hf.models.quantizing.find_spec", lambda name: None)
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


def test_a_warmup_that_the_scheduler_does_not_do_is_refused() -> None:
    with pytest.raises(pillm.ConfigError, match="choose constant_with_warmup"):
        pillm.trainer("full", base="x", lr_scheduler_type="constant", warmup_ratio=0.1)
    for more in ({}, {"warmup_ratio": 0}):
        made = pillm.trainer("full", base="x", lr_scheduler_type="constant", **more)
        assert pillm.trainer("full", **{name: value for name, value in made.options().items() if name != "use"}) == made
    assert pillm.trainer("full", base="x", lr_scheduler_type="constant_with_warmup", warmup_ratio=0.1)


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


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"config": {"hidden_size": 8}}, "config only counts with init=random"),
        ({"init": "random", "keep_layers": 2}, "keep_layers keeps nothing with init=random"),
        ({"vocabulary_size": 512}, "only count with trim_vocabulary=true"),
        ({"vocabulary_files": ["x.txt"]}, "only count with trim_vocabulary=true"),
    ],
)
def test_options_that_nothing_would_come_of_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(pillm.ConfigError, match=reason):
        pillm.trainer("full", base="x", **options)


def test_what_a_student_keeps_comes_from_text_too() -> None:
    assert pillm.trainer("full", base="x", keep_layers="4").keep_layers == 4
    assert pillm.trainer("full", base="x", keep_layers="0,2,3").keep_layers == [0, 2, 3]
    assert pillm.trainer("full", base="x", keep_layers=[1]).keep_layers == [1]
    made = pillm.trainer("full", base="x", trim_vocabulary="true", vocabulary_files="a.txt,b.jsonl")
    assert made.vocabulary_files == [Path("a.txt"), Path("b.jsonl")]
    spelt = {name: value for name, value in made.options().items() if name != "use"}
    assert pillm.trainer("full", **spelt) == made


def test_the_identity_follows_what_is_cut_and_the_content_of_files(base: Path, tmp_path: Path) -> None:
    one, copy = tmp_path / "a.txt", tmp_path / "b.txt"
    one.write_text("un", "utf-8")
    copy.write_text("un", "utf-8")

    def identity(**options: Any) -> str:
        return json.dumps(Full(base=str(base), **options).identity(), sort_keys=True)

    assert "keep_layers" not in identity()
    assert len({identity(), identity(keep_layers=1), identity(init="random"), identity(trim_vocabulary=True)}) == 4
    assert identity(trim_vocabulary=True, vocabulary_files=[one]) == identity(trim_vocabulary=True, vocabulary_files=[copy])
    before = identity(trim_vocabulary=True, vocabulary_files=[one])
    one.write_text("deux", "utf-8")
    assert identity(trim_vocabulary=True, vocabulary_files=[one]) != before
    with pytest.raises(pillm.DataError, match=r"vocabulary_files: .*none\.txt cannot be read"):
        identity(trim_vocabulary=True, vocabulary_files=[tmp_path / "none.txt"])
