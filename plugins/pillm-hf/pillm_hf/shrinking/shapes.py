"""The shape of a student: a base's with fewer layers, or with other sizes. Plain config.json dicts; nothing imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pillm

_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")  # what architectures call the number of their layers
_SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "max_position_embeddings", "tie_word_embeddings", "initializer_range",
)  # fmt: skip
_NOT_SIZES = ("vocab_size", "model_type", "architectures", "dtype", "torch_dtype", "auto_map", "quantization_config")


def layer_count(shape: Mapping[str, Any]) -> tuple[str, int]:
    """Return the name and the value of a shape's number of layers; raise ConfigError where it does not tell."""
    for name in _COUNTS:
        if isinstance(shape.get(name), int):
            return name, shape[name]
    raise pillm.ConfigError(
        "the base's config.json does not say how many layers it has at its top level (num_hidden_layers), so this kind of "
        "model cannot be cut. Choose a plain text model."
    )


def chosen_layers(asked: int | Sequence[int], count: int) -> list[int]:
    """Return the indices of the layers to keep: those asked for, or so many spread evenly from the first to the last.

    Raises ConfigError where there are no such layers.
    """
    if isinstance(asked, int):
        if not 1 <= asked <= count:
            raise pillm.ConfigError(f"keep_layers={asked}: the base has {count} layers. Keep 1 to {count} of them.")
        gaps = max(asked - 1, 1)
        return [(2 * place * (count - 1) + gaps) // (2 * gaps) for place in range(asked)]  # rounded to the nearest layer
    layers = list(asked)
    if not layers or sorted(set(layers)) != layers or layers[0] < 0 or layers[-1] >= count:
        raise pillm.ConfigError(
            f"keep_layers={layers}: name each layer once, in ascending order; the base's are 0 to {count - 1}."
        )
    return layers


def with_layers(shape: Mapping[str, Any], layers: Sequence[int]) -> dict[str, Any]:
    """Return a shape with these layers only; lists that hold one value for each layer follow."""
    name = layer_count(shape)[0]
    told = {key: [values[layer] for layer in layers] for key, values in lists_per_layer(shape).items()}
    return {**shape, **told, name: len(layers)}


def with_sizes(shape: Mapping[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a shape with other sizes; what the base derived from a size that changed is derived anew.

    Raises ConfigError, in a sentence, where a name is none of its sizes or where the sizes do not fit together.
    """
    wrong = sorted(name for name in sizes if name in _NOT_SIZES or name.endswith("_token_id") or name not in {*shape, *_SIZES})
    if wrong:
        known = ", ".join(name for name in _SIZES if name in shape)
        raise pillm.ConfigError(f"config: {', '.join(wrong)} cannot be set for a student from scratch. Its sizes are {known}.")
    low = [name for name in _SIZES if type(sizes.get(name, 1)) is int and sizes.get(name, 1) < 1]
    if low:
        raise pillm.ConfigError(f"config: {', '.join(low)} must be 1 or more.")
    made = {**shape, **sizes}
    if shape.get("head_dim") == _head_dim(shape) and "head_dim" not in sizes:
        made.pop("head_dim", None)
    name, count = layer_count(shape)
    if made[name] != count:  # their pattern is the architecture's own
        made = {key: value for key, value in made.items() if key in sizes or key not in lists_per_layer(shape)}
    _require_whole_heads(made)
    return made


def _require_whole_heads(shape: Mapping[str, Any]) -> None:
    heads, hidden = shape.get("num_attention_heads"), shape.get("hidden_size")
    shared = shape.get("num_key_value_heads") or heads
    if not (isinstance(heads, int) and isinstance(hidden, int) and isinstance(shared, int)):
        return
    if hidden % heads:
        raise pillm.ConfigError(f"config: hidden_size={hidden} is no multiple of num_attention_heads={heads}. Change either.")
    if heads % shared:
        raise pillm.ConfigError(
            f"config: num_attention_heads={heads} is no multiple of num_key_value_heads={shared}, so the heads cannot share "
            "their keys evenly. Change either."
        )
    width = shape.get("head_dim") or hidden // heads
    if width % 2:
        raise pillm.ConfigError(f"config: a head is {width} wide, and rotary positions need an even width. Change hidden_size.")


def _head_dim(shape: Mapping[str, Any]) -> int | None:
    heads, hidden = shape.get("num_attention_heads"), shape.get("hidden_size")
    return hidden // heads if isinstance(heads, int) and isinstance(hidden, int) and heads else None


def lists_per_layer(shape: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what a shape says layer by layer (`layer_types`, ...)."""
    count, others = layer_count(shape)[1], ("architectures", "eos_token_id")  # lists that may be as long by chance
    told = {name: value for name, value in shape.items() if name not in others}
    return {name: value for name, value in told.items() if isinstance(value, list) and len(value) == count}
