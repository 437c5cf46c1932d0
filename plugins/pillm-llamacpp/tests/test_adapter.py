from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp.writing.adapter import Merge, is_adapter, read
from pillm_llamacpp.writing.shards import Reader
from pillm_llamacpp_students import save_as

SETTINGS = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "bias": "none", "base_model_name_or_path": "nano-base"}
AT = "base_model.model.model.layers.0.self_attn.q_proj"


def write_adapter(folder: Path, weights: dict[str, np.ndarray] | None = None, **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    found = {
        f"{AT}.lora_A.weight": random.standard_normal((2, 6)).astype(np.float32),
        f"{AT}.lora_B.weight": random.standard_normal((4, 2)).astype(np.float32),
        **(weights or {}),
    }
    save_as(found, folder / "adapter_model.safetensors", "F32")
    (folder / "adapter_config.json").write_text(json.dumps({**SETTINGS, **more}))
    return folder


def test_an_adapter_is_known_by_its_settings_and_by_having_no_weights_of_its_own(tmp_path: Path) -> None:
    assert is_adapter(write_adapter(tmp_path / "adapter"))
    (tmp_path / "adapter" / "model.safetensors").write_bytes(b"")
    assert not is_adapter(tmp_path / "adapter")
    assert not is_adapter(tmp_path)


@pytest.mark.parametrize(
    ("more", "scale"),
    [
        ({}, 4.0),
        ({"use_rslora": True}, 8 / 2**0.5),
        ({"alpha_pattern": {"q_proj": 2}}, 1.0),
        ({"alpha_pattern": {"proj": 2, r"layers\.0\..*": 6}}, 3.0),
    ],
)
def test_the_scale_is_pefts(tmp_path: Path, more: dict[str, Any], scale: float) -> None:
    (pair,) = read(write_adapter(tmp_path / "adapter", **more)).pairs.values()
    assert pair.scale == pytest.approx(scale)


def test_rows_are_merged_wherever_they_are_cut(tmp_path: Path) -> None:
    adapter = read(write_adapter(tmp_path / "adapter"))
    base = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    with Reader() as reader:
        merge = Merge.of(adapter.pairs["model.layers.0.self_attn.q_proj.weight"], reader)
    whole = merge.apply(base, 0)
    assert np.array_equal(whole, base + (merge.b @ merge.a) * np.float32(4))
    assert np.array_equal(np.concatenate([merge.apply(base[:1], 0), merge.apply(base[1:], 1)]), whole)


def test_dora_gives_each_row_the_length_that_was_learnt(tmp_path: Path) -> None:
    lengths = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    folder = write_adapter(tmp_path / "adapter", {f"{AT}.lora_magnitude_vector": lengths}, use_dora=True)
    with Reader() as reader:
        merge = Merge.of(next(iter(read(folder).pairs.values())), reader)
    made = merge.apply(np.ones((4, 6), np.float32), 0)
    assert np.linalg.norm(made, axis=1) == pytest.approx(lengths)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"peft_type": "IA3"}, "an adapter of the kind IA3"),
        ({"modules_to_save": ["embed_tokens"]}, "whole modules beside it"),
        ({"bias": "all"}, r"the base's biases \(bias: all\)"),
        ({"fan_in_fan_out": True}, "weights that lie transposed"),
        ({"target_parameters": ["experts"]}, "parameters outside of modules"),
        ({"use_dora": True}, "are not complete"),
        ({"alpha_pattern": {"(q+)+x": 3}}, "could take for ever"),
        ({"alpha_pattern": {"(q": 3}}, "cannot be read"),
    ],
)
def test_what_is_not_merged_here_is_refused_with_the_way_out(tmp_path: Path, more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Refusal, match=complaint):
        read(write_adapter(tmp_path / "adapter", **more))


@pytest.mark.parametrize(
    ("name", "shape", "complaint"),
    [
        (f"{AT}.lora_B.weight", (4, 3), "do not multiply"),
        ("base_model.model.model.embed_tokens.weight", (4, 3), "is no part of a LoRA"),
        ("base_model.model.lm_head.lora_A.weight", (2, 6), "for lm_head are not complete"),
        (f"{AT}.lora_magnitude_vector", (4,), "are not complete"),
    ],
)
def test_weights_that_make_no_sense_are_named(tmp_path: Path, name: str, shape: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(Refusal, match=complaint):
        read(write_adapter(tmp_path / "adapter", {name: np.ones(shape, np.float32)}))


def test_an_adapter_in_a_pickle_is_not_opened(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(Refusal, match="is a pickle") as caught:
        read(folder)
    assert caught.value.kind == "unsafe"


def test_alone_it_has_one_alpha_or_cannot_be_said(tmp_path: Path) -> None:
    assert read(write_adapter(tmp_path / "one")).single_alpha() == 8
    # llama.cpp divides by the rank, so what rank stabilisation divides less by is given beforehand
    assert read(write_adapter(tmp_path / "two", use_rslora=True)).single_alpha() == pytest.approx(8 * 2**0.5)
    other = AT.replace("q_proj", "k_proj")
    weights = {f"{other}.lora_A.weight": np.ones((2, 6), np.float32), f"{other}.lora_B.weight": np.ones((4, 2), np.float32)}
    with pytest.raises(Refusal, match="weighs its layers apart"):
        read(write_adapter(tmp_path / "three", weights, alpha_pattern={"k_proj": 1})).single_alpha()
