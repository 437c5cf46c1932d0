"""Which weights a file holds on which grid: foretold as llama.cpp then does it, and its values too; the unknown is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from pillm_hf import Full, LoRA
from pillm_hf.models.loading import load_model
from pillm_hf.rounding.filetypes import layers_of, require_layers
from pillm_hf.rounding.grids import rounded
from pillm_hf.training.students import with_adapters

import pillm

NAMES = {
    "model.embed_tokens": "token_embd", "lm_head": "output", "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v",
    "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "narrow, tied": {},
    "wide, with a head of its own, in groups of four": {
        "hidden_size": 256, "intermediate_size": 544, "num_hidden_layers": 8, "num_attention_heads": 8,
        "num_key_value_heads": 2, "tie_word_embeddings": False,
    },
}  # fmt: skip


def reshaped(folder: Path, **shape: Any) -> Path:
    """Give a model folder random weights of another shape."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)  # Qwen2's class splits otherwise than the file said
    config = AutoConfig.from_pretrained(folder)
    for name, value in shape.items():
        setattr(config, name, value)
    for name in ("layer_types", "max_window_layers"):
        if shape and hasattr(config, name):
            setattr(config, name, ["full_attention"] * 8 if name == "layer_types" else 8)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
def test_every_tensor_of_an_exported_file_has_the_type_and_the_values_that_training_rounds_to(
    make: Callable[..., Path], tmp_path: Path, shape: str
) -> None:
    folder = reshaped(make(tmp_path / "student", kind="qwen2", dtype="bfloat16"), **SHAPES[shape])
    quants = ("Q4_0", "IQ4_NL", "Q8_0")
    files = pillm.export(pillm.Checkpoint(path=folder), pillm.exporter("gguf", quants=list(quants)), out=tmp_path / "out")
    model = load_model(folder, torch.float32)
    for quant, file in zip(quants, files, strict=True):
        tensors = {tensor.name.removesuffix(".weight"): tensor for tensor in GGUFReader(file.path).tensors}
        foretold = set()
        for layer in layers_of(model, quant):
            found = re.fullmatch(r"model\.layers\.(\d+)\.\w+\.(\w+)", layer.name)
            name = f"blk.{found[1]}.{NAMES[found[2]]}" if found else NAMES[layer.name]
            foretold.add(name)
            assert tensors[name].tensor_type.name == layer.grid, (quant, name)
            held = torch.from_numpy(dequantize(tensors[name].data, tensors[name].tensor_type))
            assert torch.equal(rounded(layer.weight, layer.grid), held), (quant, name)
        others = {name: tensor.tensor_type.name for name, tensor in tensors.items() if name not in foretold}
        assert not set(others.values()) & set(quants), (quant, others)
        assert len(foretold) >= 13


def test_a_student_whose_weights_are_not_known_is_refused_before_anything_is_loaded(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

    small = {"vocab_size": 320, "hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 1, "bos_token_id": None}
    for number, made in enumerate(
        (GPT2LMHeadModel(GPT2Config(**small)), MixtralForCausalLM(MixtralConfig(**small, intermediate_size=64)))
    ):
        folder = make(tmp_path / str(number))
        (folder / "model.safetensors").unlink()
        made.save_pretrained(folder)
        with pytest.raises(pillm.ConfigError, match=r"does not know what a file holds of .*Nothing was trained"):
            require_layers("Q4_0", folder)
        with pytest.raises(pillm.ConfigError, match="quantization_aware"):
            Full(base=str(folder), quantization_aware={"type": "Q4_0"}).check()
        Full(base=str(folder)).check()


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
def test_adapters_on_the_table_of_tokens_are_refused(base: Path) -> None:
    options = LoRA(base=str(base), target_modules=["q_proj", "embed_tokens"])
    model = with_adapters(load_model(base, torch.float32), options, base)
    with pytest.raises(pillm.ConfigError, match="no adapters on the token embeddings"):
        layers_of(model, "Q4_0")


def test_an_adapted_layer_is_named_once_and_its_adapter_never(base: Path) -> None:
    options = LoRA(base=str(base), target_modules=["q_proj"])
    plain = layers_of(load_model(base, torch.float32), "Q4_0")
    found = layers_of(with_adapters(load_model(base, torch.float32), options, base), "Q4_0")
    assert [layer.name for layer in found] == [layer.name for layer in plain]
    assert [layer.name for layer in found if layer.adapted] == [f"model.layers.{n}.self_attn.q_proj" for n in (0, 1)]
