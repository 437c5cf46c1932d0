"""Which of a student's weight matrices a quantised file holds on which grid.

Source: `llama_tensor_get_type_impl` and `tensor_type_fallback` in llama.cpp's src/llama-quant.cpp, without an importance
matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pillm
from pillm_hf.losses.loss import inner_of
from pillm_hf.rounding.grids import BLOCK, Grid

if TYPE_CHECKING:
    from torch.nn import Module, Parameter

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj")
_FEED_FORWARD = ("gate_proj", "up_proj", "down_proj", "gate_up_proj")
_VALUES = ("v_proj", "qkv_proj")
_SUPER_BLOCK = 256
"""Weights in a block of Q5_K and Q6_K; rows of another length are held in Q5_1 and Q8_0."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer whose weight [out, in] the file holds on a grid; with an adapter it is the adapter's layer."""

    name: str
    module: Module
    grid: Grid

    @property
    def adapted(self) -> bool:
        """Say whether an adapter is learnt for it."""
        return hasattr(self.module, "base_layer")

    @property
    def weight(self) -> Parameter:
        """Return the layer's own weight, without its adapter."""
        weight: Parameter = getattr(self.module, "base_layer", self.module).weight  # type: ignore[assignment]
        return weight


def layers_of(model: Any, file_type: Grid) -> list[Layer]:
    """Return the layers that a file of that type holds on one of the grids; each weight is named once.

    Raises ConfigError where what the file will hold of some weight is not known here, or an adapter is on the table.
    """
    import torch

    inner = inner_of(model)
    table, head, config = inner.get_input_embeddings(), inner.get_output_embeddings(), inner.config.get_text_config()
    tied = head is None or head.weight is table.weight
    groups = config.num_attention_heads // (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    found: list[Layer] = []
    known = set()
    for name, module in inner.named_modules():
        weight = getattr(module, "weight", None)
        if hasattr(module, "lora_A"):
            weight = module.base_layer.weight
        if not isinstance(weight, torch.nn.Parameter) or weight.ndim != 2 or id(weight) in known or _is_adapter(name):
            continue
        known.add(id(weight))
        if module is table or module is head:
            kind = _of_output(file_type, weight.shape[1]) if tied or module is head else _fitted(file_type, weight.shape[1])
        else:
            kind = _of_layer(name, file_type, weight.shape[1], config.num_hidden_layers, groups)
        if kind in get_args(Grid):
            found.append(Layer(name, module, kind))  # type: ignore[arg-type]
    _require_known(inner, known, table, head)
    return found


def require_layers(file_type: Grid, folder: Path) -> None:
    """Raise ConfigError where what such a file will hold of a folder's model is not known here; nothing is loaded."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    pillm.check_model_folder(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        layers_of(AutoModelForCausalLM.from_config(config), file_type)


def _of_layer(name: str, file_type: Grid, width: int, layers: int, groups: int) -> str:
    """Return the type of a layer's weight: IQ4_NL holds some in five bits."""
    kind: str = file_type
    part = name.rpartition(".")[2]
    if file_type == "IQ4_NL":
        number = next((int(word) for word in name.split(".") if word.isdigit()), 0)
        if (part in _VALUES and groups >= 4) or (part == "down_proj" and number < layers // 8):
            kind = "Q5_K"
    return _fitted(kind, width)


def _of_output(file_type: Grid, width: int) -> str:
    """Return the type of the head, or of the table that serves as one: at least six bits."""
    return _fitted("Q8_0" if file_type == "Q8_0" or width % BLOCK else "Q6_K", width)


def _fitted(kind: str, width: int) -> str:
    """Return the type that takes its place where rows are no whole number of its blocks."""
    if width % _SUPER_BLOCK:
        kind = {"Q6_K": "Q8_0", "Q5_K": "Q5_1"}.get(kind, kind)
    return "F16" if width % BLOCK else kind


def _is_adapter(name: str) -> bool:
    return any(part.startswith("lora_") or part == "base_layer" for part in name.split("."))


def _require_known(inner: Any, known: set[int], table: Any, head: Any) -> None:
    """Raise ConfigError where a matrix is none of those whose types are known, or the table or the head has an adapter."""
    named = {f"{part}.weight" for part in (*_ATTENTION, *_FEED_FORWARD)}
    strange = {
        name
        for name, part in inner.named_parameters()
        if part.ndim >= 2
        and not _is_adapter(name.replace(".base_layer", ""))
        and not (part is table.weight or (head is not None and part is head.weight))
        and not (id(part) in known and ".".join(name.replace(".base_layer", "").split(".")[-2:]) in named)
    }
    if strange:
        raise pillm.ConfigError(
            f"quantization_aware does not know what a file holds of {', '.join(sorted(strange)[:3])} "
            f"({len(strange)} such weights of a {inner.config.model_type}). Nothing was trained. Leave it out for this student."
        )
    if any(hasattr(part, "base_layer") for part in (table, head)):
        raise pillm.ConfigError(
            "quantization_aware knows no adapters on the token embeddings or the head. Nothing was trained. "
            "Leave them out of target_modules, or leave quantization_aware out."
        )
