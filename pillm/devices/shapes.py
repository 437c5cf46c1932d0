"""The shape of a model, as far as memory and speed depend on it: from a GGUF file or from a `config.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pillm.devices.ggufheader import GGUFHeader, Tensor, Value, read_header
from pillm.devices.quants import BLOCKS, QUANT_OF_FILE_TYPE, embedding_type, head_type, known_quant, layer_type, stored_bytes
from pillm.devices.windows import windows_of_config, windows_of_file
from pillm.errors import ConfigError, DataError, did_you_mean
from pillm.intake.door import check_model_file

KNOWN_ARCHITECTURES = (
    "llama", "mistral", "qwen2", "qwen3", "smollm3", "granite", "gemma", "gemma2", "gemma3_text", "olmo2",
)  # fmt: skip
"""Decoders whose layers are attention and a gated feed-forward part, `model_type` as in `config.json`."""
_ALWAYS_TIED = ("gemma", "gemma2", "gemma3_text")
_ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")
_FAR = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A model's tensors and the few numbers that caches and buffers are made of."""

    name: str
    quant: str
    tensors: tuple[Tensor, ...]
    layers: int
    heads: int
    head_size: int
    kv_per_token: int
    """Numbers that each token adds to the key-value cache, over all layers."""
    hidden: int
    feed_forward: int
    vocabulary: int
    context: int
    """The context it was trained for; 0 where it does not say."""
    file_bytes: int
    expert_share: float = 1.0
    """The part of its experts that a token uses."""
    window: int = 0
    """How many tokens back its windowed layers look; 0: every layer looks at all."""
    kv_windowed: int = 0
    """Of `kv_per_token`, what windowed layers add."""

    @property
    def tied(self) -> bool:
        """Return whether the embedding is also the output head."""
        return not any(tensor.name == "output.weight" for tensor in self.tensors)

    @property
    def head(self) -> str:
        """Return the name of the tensor that is the output head."""
        return "token_embd.weight" if self.tied else "output.weight"

    @property
    def streamed(self) -> tuple[Tensor, ...]:
        """Return the matrices that every decoded token reads: the head once, an embedding that is not the head never."""
        skipped = "" if self.tied else "token_embd.weight"
        return tuple(one for one in self.tensors if len(one.shape) > 1 and one.name != skipped)

    def used(self, tensor: Tensor) -> float:
        """Return the part of a tensor that a token uses: less than 1 for experts."""
        return self.expert_share if "_exps" in tensor.name else 1.0

    def quantised(self, quant: str) -> ModelShape:
        """Return the shape as llama.cpp would quantise it; raise ConfigError for a name whose mix is not known."""
        quant = known_quant(quant)
        grouped = self.heads * self.head_size * 2 * self.layers >= 4 * self.kv_per_token
        return replace(self._stored(tuple(self._requantised(one, quant, grouped) for one in self.tensors)), quant=quant)

    def with_types(self, types: Mapping[str, str]) -> ModelShape:
        """Return the shape with some tensors, by name, in other storage types; raise ConfigError for what is not known."""
        names = {one.name for one in self.tensors}
        for name, type_ in types.items():
            if name not in names:
                raise ConfigError(f"{self.name} has no tensor {name!r}.{did_you_mean(name, names)}")
            if type_ not in BLOCKS:
                raise ConfigError(f"{type_!r} is no storage type.{did_you_mean(type_, BLOCKS)} Known: {', '.join(BLOCKS)}.")
        return self._stored(tuple(replace(one, type=types.get(one.name, one.type)) for one in self.tensors))

    def with_vocabulary(self, entries: int) -> ModelShape:
        """Return the shape with another number of entries in its vocabulary."""
        named = {"token_embd.weight", "output.weight"}
        made = [replace(one, shape=(one.shape[0], entries)) if one.name in named else one for one in self.tensors]
        return replace(self._stored(tuple(made)), vocabulary=entries)

    def _stored(self, tensors: tuple[Tensor, ...]) -> ModelShape:
        stored = sum(stored_bytes(one.type, one.weights) for one in tensors)
        kept = self.file_bytes - sum(stored_bytes(one.type, one.weights) for one in self.tensors)
        return replace(self, tensors=tensors, file_bytes=stored + max(kept, 0))

    def _requantised(self, tensor: Tensor, quant: str, grouped: bool) -> Tensor:
        part, columns = tensor.name.removesuffix(".weight"), tensor.shape[0]
        if len(tensor.shape) < 2 or not tensor.name.endswith(".weight") or "norm" in part or "ffn_gate_inp" in part:
            return tensor
        if tensor.name == self.head:
            type_ = head_type(quant, columns)
        elif part.startswith("blk."):
            number, _, place = part.removeprefix("blk.").partition(".")
            layer = int(number) if number.isdecimal() and len(number) < 6 else 0
            type_ = layer_type(quant, place, columns, (layer, self.layers), grouped)
        else:
            type_ = embedding_type(quant, columns)
        return replace(tensor, type=type_)


def shape_of(model: Any) -> ModelShape:
    """Return the shape of a ModelFile, a Checkpoint, a .gguf file, a model folder, a config.json or what one holds.

    Raises DataError where the file is malformed, or a configuration is not one of the known decoders, and UnsafeError where
    it was made to do harm.
    """
    if isinstance(model, Mapping):
        return from_config(dict(model), str(model.get("name", "the student")))
    path = Path(getattr(model, "path", model))
    if path.is_dir():
        path = path / "config.json"
    if not path.is_file():
        raise DataError(f"{path} is not a file. Give a .gguf file, a model folder with config.json, or a config.json.")
    check_model_file(path)
    if path.suffix == ".json":
        try:
            config = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path} is not a readable config.json ({error}).") from error
        named = path.resolve().parent.name if path.name == "config.json" else path.stem
        return from_config(config, str(getattr(model, "label", "") or named))
    return from_header(read_header(path), path.name, str(getattr(model, "quant", "")))


def from_header(header: GGUFHeader, name: str, quant: str = "") -> ModelShape:
    """Return the shape that a GGUF header describes; raise DataError where a needed key is missing."""
    kept = header.metadata
    arch = kept.get("general.architecture")
    if not isinstance(arch, str) or not header.tensors:
        raise DataError(
            f"{name} holds no model: {'no tensors' if arch else 'no general.architecture'}. Is it a vocabulary only?"
        )
    if _whole(kept.get("split.count", 1), 1) > 1:
        raise DataError(f"{name} is one part of a split model. Join the parts with llama-gguf-split --merge.")
    layers = _needed(kept, f"{arch}.block_count", name)
    hidden = _needed(kept, f"{arch}.embedding_length", name)
    heads = max(_each(kept.get(f"{arch}.attention.head_count"), 1, [1]))
    key = _whole(kept.get(f"{arch}.attention.key_length"), max(hidden // max(heads, 1), 1))
    value = _whole(kept.get(f"{arch}.attention.value_length"), key)
    kv_heads = _each(kept.get(f"{arch}.attention.head_count_kv"), layers, [heads] * layers)
    windows = windows_of_file(kept, arch, layers)
    experts, used = (_whole(kept.get(f"{arch}.{what}"), 0) for what in ("expert_count", "expert_used_count"))
    embedding = next((one for one in header.tensors if one.name == "token_embd.weight"), None)
    file_type = kept.get("general.file_type")
    return ModelShape(
        name=name,
        quant=quant or QUANT_OF_FILE_TYPE.get(_whole(file_type, -1), _commonest(header.tensors)),
        tensors=header.tensors,
        layers=layers,
        heads=heads,
        head_size=key,
        kv_per_token=sum(kv_heads) * (key + value),
        hidden=hidden,
        feed_forward=max(_each(kept.get(f"{arch}.feed_forward_length"), 1, [4 * hidden])),
        vocabulary=embedding.shape[-1] if embedding else 0,
        context=_whole(kept.get(f"{arch}.context_length"), 0),
        file_bytes=header.file_bytes,
        expert_share=used / experts if 0 < used <= experts else 1.0,
        window=windows.tokens,
        kv_windowed=sum(count for count, cut in zip(kv_heads, windows.layers, strict=False) if cut) * (key + value),
    )


def from_config(config: Any, name: str) -> ModelShape:
    """Return the shape of a `config.json` in F16; raise DataError where it is not one of the known decoders."""
    if not isinstance(config, dict):
        raise DataError(f"{name}: config.json holds no object.")
    kind = config.get("model_type")
    experts = any(config.get(key) for key in ("num_experts", "num_local_experts", "n_routed_experts"))
    if kind not in KNOWN_ARCHITECTURES or experts:
        what = f"{kind!r} with experts" if experts else repr(kind)
        raise DataError(
            f"{name}: the size of model type {what} is not known beforehand (known: {', '.join(KNOWN_ARCHITECTURES)}). "
            "Export it to GGUF and plan the file."
        )
    layers, hidden, wide, vocabulary, heads = (
        _needed(config, key, name)
        for key in ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size", "num_attention_heads")
    )
    kv_heads = _whole(config.get("num_key_value_heads"), heads)
    size = _whole(config.get("head_dim"), max(hidden // heads, 1))
    sides = {
        "attn_q": (hidden, heads * size), "attn_k": (hidden, kv_heads * size), "attn_v": (hidden, kv_heads * size),
        "attn_output": (heads * size, hidden), "ffn_gate": (hidden, wide), "ffn_up": (hidden, wide), "ffn_down": (wide, hidden),
    }  # fmt: skip
    names = [("token_embd.weight", (hidden, vocabulary))]
    if not config.get("tie_word_embeddings", kind in _ALWAYS_TIED):
        names.append(("output.weight", (hidden, vocabulary)))
    names += [(f"blk.{layer}.{part}.weight", shape) for layer in range(layers) for part, shape in sides.items()]
    tensors = tuple(Tensor(name=one, shape=shape, type="F16") for one, shape in names)
    windows = windows_of_config(config, layers)
    return ModelShape(
        name=name,
        quant="F16",
        tensors=tensors,
        layers=layers,
        heads=heads,
        head_size=size,
        kv_per_token=layers * kv_heads * 2 * size,
        hidden=hidden,
        feed_forward=wide,
        vocabulary=vocabulary,
        context=_whole(config.get("max_position_embeddings"), 0),
        # norms stay F32; tokens and merges take about 40 bytes each entry of the vocabulary
        file_bytes=sum(one.bytes for one in tensors) + (2 * layers + 1) * hidden * 4 + 40 * vocabulary,
        window=windows.tokens,
        kv_windowed=sum(windows.layers) * kv_heads * 2 * size,
    )


def _commonest(tensors: Iterable[Tensor]) -> str:
    weights: dict[str, int] = {}
    for tensor in tensors:
        weights[tensor.type] = weights.get(tensor.type, 0) + tensor.weights
    return max(weights, key=lambda type_: weights[type_])


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _FAR else otherwise


def _needed(table: Mapping[str, Any], key: str, name: str) -> int:
    found = _whole(table.get(key), 0)
    if not found or (key.endswith(("block_count", "num_hidden_layers")) and found > 10_000):
        raise DataError(f"{name}: {key} is {table.get(key)!r}, not a sensible number.")
    return found


def _each(value: Value | None, count: int, otherwise: list[int]) -> list[int]:
    """Return one number per layer, from one number for all or from a list."""
    if isinstance(value, tuple) and value:
        return [int(max(0, min(item, _FAR))) if math.isfinite(item) else 0 for item in value]
    return [_whole(value, 0)] * count if _whole(value, 0) else otherwise
