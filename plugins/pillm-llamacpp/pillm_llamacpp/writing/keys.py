"""A file's metadata: the converter's keys, in its order, from the model's own files and without transformers."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pillm_llamacpp.converting.hooks import Splits, add_own_keys, set_keys
from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp.writing.families import Family, heads_of, rope_of
from pillm_llamacpp.writing.vocabulary import write_vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pillm_llamacpp.workers.pipe import Packet

FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7, "BF16": 32}
_GENERAL = "general."
_SCALES = {
    "attention_multiplier": "add_attention_scale", "embedding_multiplier": "add_embedding_scale",
    "residual_multiplier": "add_residual_scale", "logits_scaling": "add_logit_scale",
}  # fmt: skip
_RERANKERS = ("qwen3-reranker", "qwen3-vl-reranker")


def pinned(tree: str) -> Any:
    """Return the module gguf of the pinned source: the one of its own release knows fewer models."""
    place = str(Path(tree) / "gguf-py")
    if place not in sys.path:
        sys.path.insert(0, place)
    gguf = import_module("gguf")
    if not Path(str(gguf.__file__)).is_relative_to(place):
        raise Refusal("backend", f"another gguf was loaded before the pinned one ({gguf.__file__})")
    return gguf


def add_keys(writer: Any, gguf: Any, family: Family, config: Mapping[str, Any], job: Packet) -> None:
    """Add every key but the file's type to a writer that knows its tensors already."""
    folder = Path(job["texts"])
    writer.add_type(gguf.GGUFType.MODEL)
    add_general(writer, gguf, folder, job["metadata"])
    if job["vocabulary"]:
        _copy(writer, gguf, Path(job["vocabulary"]))
    elif family.keys:
        _check_plain(family, folder)
        _add_parameters(writer, gguf, family, config)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        write_vocabulary(writer, gguf, folder, job["tree"], config, given=job["pre"], derived=job["derived"])
    else:
        raise Refusal("vocabulary", f"the metadata of {family.arch} are the converter's work")
    splits = None if job["vocabulary"] else Splits(space_before=None, strips=False)
    add_own_keys(writer, job["stops"], job["keys"], splits)


def add_adapter_keys(writer: Any, gguf: Any, folder: Path, alpha: float, job: Packet) -> None:
    """Add the keys of a file that holds an adapter alone."""
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    add_general(writer, gguf, folder, job["metadata"])
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    set_keys(writer, job["keys"])


def add_general(writer: Any, gguf: Any, folder: Path, override: Mapping[str, str]) -> None:
    """Add who made the model, from its card, its folder's name and what was told."""
    total, shared, expert, count = writer.get_total_parameter_count()
    metadata = gguf.Metadata.load(None, folder, None, total)
    metadata.name = override.get("general.name") or metadata.name or folder.name
    metadata.license = override.get("general.license") or metadata.license
    if metadata.size_label is None and total:
        metadata.size_label = gguf.size_label(total, shared, expert, count)
    metadata.set_gguf_meta_model(writer)


def _check_plain(family: Family, folder: Path) -> None:
    """Raise Refusal where the converter would take the folder for something else than a model that writes."""
    if (folder / "modules.json").is_file():
        raise Refusal("vocabulary", "modules.json makes it an encoder")
    if family.arch == "qwen3":
        card = folder / "README.md"
        told = [folder.name, card.read_text("utf-8", "replace") if card.is_file() else ""]
        if any(name in text.lower() for text in told for name in _RERANKERS):
            raise Refusal("vocabulary", "it is a reranker")


def _add_parameters(writer: Any, gguf: Any, family: Family, config: Mapping[str, Any]) -> None:
    told = {**family.defaults, **config}
    try:
        hidden = int(told["hidden_size"])
        heads, answering = heads_of(config, family)
        writer.add_block_count(int(told["num_hidden_layers"]))
        writer.add_context_length(int(told["max_position_embeddings"]))
        writer.add_embedding_length(hidden)
        writer.add_feed_forward_length(int(told["intermediate_size"]))
        writer.add_head_count(heads)
        writer.add_head_count_kv(answering)
        _add_rope(writer, gguf, rope_of(family, config))
        writer.add_layer_norm_rms_eps(float(told.get("rms_norm_eps", 1e-6)))
        width = None if family.arch == "granite" else told.get("head_dim")
        if width is None and family.head_dim:
            width = hidden // heads
        if width is not None:
            writer.add_key_length(int(width))
            writer.add_value_length(int(width))
        writer.add_file_type(0)
        if family.turned:
            writer.add_vocab_size(int(told["vocab_size"]))
            writer.add_rope_dimension_count(int(width or hidden // heads))
        for name, add in _SCALES.items() if family.arch == "granite" else ():
            if value := told.get(name, 1.0):
                getattr(writer, add)(value)
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal("vocabulary", f"config.json does not say everything ({error!r})") from error


def _add_rope(writer: Any, gguf: Any, rope: Mapping[str, Any]) -> None:
    kind = str(rope["rope_type"])
    kinds = gguf.RopeScalingType
    if kind == "linear":
        writer.add_rope_scaling_type(kinds.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(kinds.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        for name, add in (("extrapolation_factor", "ext_factor"), ("attention_factor", "attn_factor"),
                          ("beta_fast", "beta_fast"), ("beta_slow", "beta_slow")):  # fmt: skip
            value = rope.get(name, rope.get("attn_factor") if name == "attention_factor" else None)
            if value is not None:
                getattr(writer, f"add_rope_scaling_yarn_{add}")(value)
    elif kind not in ("default", "llama3"):
        raise Refusal("vocabulary", f"rotary settings of the kind {kind}")
    writer.add_rope_freq_base(rope["rope_theta"])


def _copy(writer: Any, gguf: Any, path: Path) -> None:
    """Take over what the converter wrote of the model and its tokenizer, but not who made it: it did not see the weights."""
    for name, found in gguf.GGUFReader(path).fields.items():
        if name.startswith("GGUF.") or (name.startswith(_GENERAL) and name != "general.quantization_version"):
            if name == "general.file_type":
                writer.add_file_type(0)
            elif name == "general.name":  # which tells llama.cpp how to treat blanks
                writer.add_name(found.contents())
            continue
        kinds = found.types
        array = kinds[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(name, found.contents(), kinds[0], kinds[-1] if array else None)


def config_of(folder: Path) -> dict[str, Any]:
    """Return a model's configuration."""
    found: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return found
