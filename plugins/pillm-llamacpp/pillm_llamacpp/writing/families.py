"""The families of models that are written here: how their tensors are named, turned and stored, as the converter has it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp.writing.encoding import BLOCK
from pillm_llamacpp.writing.shards import FLOATS, Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pillm_llamacpp.writing.adapter import Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What tells one family's files from another's."""

    arch: str
    """Its name in a GGUF file."""
    turned: bool = False
    """Whether the rows of queries and keys change places: llama.cpp rotates neighbours, transformers halves."""
    shift: float = 0.0
    """What is added to the weights of norms: Gemma's are stored as the difference from one."""
    headless: bool = False
    """Whether a head of its own is left out, because llama.cpp takes the embedding."""
    cut: bool = False
    """Whether rows of the embedding that no token has are left out."""
    keys: bool = True
    """Whether its metadata are written here; else the converter is asked for them, without the weights."""
    head_dim: bool = False
    """Whether transformers fills in a head's width where the configuration does not say."""
    theta: float = 10000.0
    """The base of the rotary frequencies where the configuration does not say."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """transformers' own values for what a configuration may leave out."""


FAMILIES = {
    "LlamaForCausalLM": Family(arch="llama", turned=True, head_dim=True),
    "MistralForCausalLM": Family(arch="llama", turned=True, head_dim=True, defaults={"num_key_value_heads": 8}),
    "SmolLM3ForCausalLM": Family(arch="smollm3", turned=True, theta=2000000.0, defaults={"num_key_value_heads": 4}),
    "GraniteForCausalLM": Family(arch="granite", turned=True),
    "Qwen2ForCausalLM": Family(arch="qwen2", defaults={"num_key_value_heads": 32}),
    "Qwen3ForCausalLM": Family(arch="qwen3", defaults={"num_key_value_heads": 32, "head_dim": 128}),
    "Olmo2ForCausalLM": Family(arch="olmo2", defaults={"rms_norm_eps": 1e-5}),
    "Gemma2ForCausalLM": Family(arch="gemma2", shift=1.0, headless=True, keys=False),
    "Gemma3ForCausalLM": Family(arch="gemma3", shift=1.0, cut=True, keys=False),
    "Phi3ForCausalLM": Family(arch="phi3", keys=False),
}
"""The architecture of a config.json -> its family."""
_STRANGE = (
    # a configuration with one of these holds other tensors than those that are told of here
    "quantization_config", "text_config", "vision_config", "draft_vocab_size", "transformer_layer_config",
    "num_local_experts", "num_experts", "n_routed_experts", "n_layers", "n_heads", "n_kv_heads",
)  # fmt: skip
_STRANGE_KEYS = (
    # and with one of these the converter writes other metadata
    "partial_rotary_factor", "num_experts_per_tok", "n_group", "topk_group", "score_function", "scoring_func", "score_func",
    "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "prefix_dense_intermediate_size", "dense_intermediate_size",
    "global_rope_theta", "rope_global_theta", "rope_theta_global", "local_rope_theta", "rope_local_theta", "rope_theta_local",
    "swa_rope_theta", "rope_local_base_freq", "classifier_pooling", "spatial_target_layers", "deepstack_layer_map",
)  # fmt: skip
_PASSED_OVER = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")


def family_of(config: Mapping[str, Any], *, keys_known: bool = False) -> Family:
    """Return a model's family.

    Raises Refusal of the kind `uncovered` where it is none of those that are written here, or of the kind `vocabulary`
    where its metadata are the converter's work, unless they are known already.
    """
    named = (config.get("architectures") or ["(none)"])[0]
    family = FAMILIES.get(str(named))
    if family is None:
        raise Refusal("uncovered", f"{named} is written by the converter only")
    if strange := [name for name in _STRANGE if config.get(name) is not None]:
        raise Refusal("uncovered", f"config.json has {strange[0]}")
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if family.arch == "phi3" and rope.get("long_factor"):
        raise Refusal("uncovered", "long rotary factors are written by the converter only")
    if family.keys and not keys_known:
        strange = [name for name in _STRANGE_KEYS if config.get(name) is not None]
        strange += ["sliding_window"] if family.arch == "olmo2" and "sliding_window" in config else []
        if strange or config.get("is_causal") is False:
            raise Refusal("vocabulary", f"config.json has {strange[0] if strange else 'is_causal'}")
    return family


def rope_of(family: Family, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rotary settings as transformers completes them, whichever generation of it saved the configuration."""
    rope = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    if any(isinstance(value, dict) for value in rope.values()):
        raise Refusal("vocabulary", "config.json has rotary settings for each kind of layer")
    rope.setdefault("rope_theta", config.get("rope_theta", family.theta))
    rope.setdefault("rope_type", rope.get("type", "default"))
    if "partial_rotary_factor" in rope:
        raise Refusal("vocabulary", "only a part of each head is rotated")
    if rope["rope_type"] in ("llama3", "yarn", "longrope"):
        told = config.get("original_max_position_embeddings")
        rope.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
        rope |= {"original_max_position_embeddings": told} if told is not None else {}
    return rope


def heads_of(config: Mapping[str, Any], family: Family) -> tuple[int, int]:
    """Return how many heads ask and how many answer."""
    heads = int(config["num_attention_heads"])
    told = config["num_key_value_heads"] if "num_key_value_heads" in config else family.defaults.get("num_key_value_heads")
    return heads, int(told or heads)


class Part(NamedTuple):
    """A tensor of the file to be."""

    name: str
    shape: tuple[int, ...]
    source: Stored | None
    """Where its values are; none: they are `values`."""
    values: np.ndarray[Any, Any] | None = None
    exact: bool = False
    """Whether it stays F32 in every file: norms and vectors."""
    heads: int = 0
    """Into how many blocks of rows it is turned; 0: the rows stay where they are."""
    shift: float = 0.0

    def stored_as(self, kind: str) -> str:
        """Return the storage type that it has in a file of a type."""
        if self.exact:
            return "F32"
        return "F16" if kind == "Q8_0" and self.shape[-1] % BLOCK else kind


def parts(
    gguf: Any, family: Family, config: Mapping[str, Any], tensors: Mapping[str, Stored], words: int | None = None
) -> Iterator[Part]:
    """Yield the file's tensors in the converter's order; raise Refusal where one has no place in a file of this family.

    `words` is how many rows the embedding keeps; none: all.
    """
    arch = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == family.arch)
    names = gguf.get_tensor_name_map(arch, int(config["num_hidden_layers"]))
    if (factors := _factors(family, config)) is not None:
        yield Part("rope_freqs.weight", factors.shape, None, factors, exact=True)
    asking, answering = heads_of(config, family)
    for name, tensor in tensors.items():
        if name.endswith(_PASSED_OVER) or (family.headless and name == "lm_head.weight"):
            continue
        told = names.get_name(key=name, try_suffixes=(".weight", ".bias"))
        if told is None or tensor.dtype not in FLOATS or not 1 <= len(tensor.shape) <= 2:
            raise Refusal(
                "uncovered", f"the tensor {name} ({tensor.dtype} {tensor.shape}) has no place in a {family.arch} file"
            )
        heads = 0
        if family.turned:
            heads = asking if ".q_proj." in name else answering if ".k_proj." in name else 0
        exact = len(tensor.shape) == 1 or told.endswith("_norm.weight") or not told.endswith(".weight")
        kept = min(words or tensor.rows, tensor.rows) if "embed_tokens.weight" in name else tensor.shape[0]
        shift = family.shift if name.endswith("norm.weight") else 0.0
        yield Part(told, (kept, *tensor.shape[1:]), tensor, None, exact, heads, shift)


def adapter_parts(plan: Iterable[Part], pairs: Mapping[str, Pair]) -> Iterator[Part]:
    """Yield the tensors of a file that holds an adapter alone: two for each of the base's that it changes."""
    changed = {part.source.name: part for part in plan if part.source}
    for name, pair in pairs.items():
        part = changed[name]
        yield Part(f"{part.name}.lora_a", pair.a.shape, pair.a)
        # what the base's rows do, those of B do
        yield Part(f"{part.name}.lora_b", pair.b.shape, pair.b, heads=part.heads)


def turned(rows: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Return the rows of whole heads [heads * width, columns] with each head's halves dealt out in turn."""
    width = len(rows) // heads
    return rows.reshape(heads, 2, width // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def _factors(family: Family, config: Mapping[str, Any]) -> np.ndarray[Any, Any] | None:
    """Return what Llama 3 divides its rotary frequencies by; none for any other."""
    if not family.turned:
        return None
    rope = rope_of(family, config)
    if str(rope["rope_type"]).lower() != "llama3":
        return None
    width = int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
    base, factor = float(rope.get("rope_theta", 10000.0)), float(rope.get("factor", 8.0))
    low, high = float(rope.get("low_freq_factor", 1.0)), float(rope.get("high_freq_factor", 4.0))
    context = float(rope.get("original_max_position_embeddings", 8192))
    one = np.float32(1.0)
    made = []
    for step in np.arange(0, width, 2, dtype=np.float32) / np.float32(width):
        wave = np.float32(2 * math.pi) / (one / np.float32(math.pow(base, float(step))))
        smooth = (np.float32(context) / wave - np.float32(low)) / np.float32(high - low)
        between = one / ((one - smooth) / np.float32(factor) + smooth)
        made.append(1.0 if wave < context / high else factor if wave > context / low else between)
    return np.array(made, np.float32)
