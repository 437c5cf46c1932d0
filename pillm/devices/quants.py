"""Storage types of ggml and the mix of them that each quantisation's name stands for.

Source: `ggml/src/ggml-common.h`, `gguf-py/gguf/constants.py` and `src/llama-quant.cpp` of llama.cpp 0.5.0-dev (commit
0c1e57098), without importance matrix. What the quantiser would do to dense models is arithmetic; here it is.
"""

from __future__ import annotations

from pillm.errors import ConfigError, did_you_mean
from pillm.intake.ggmltypes import TYPES

BLOCKS: dict[str, tuple[int, int]] = {name: (block, size) for name, block, size in TYPES.values()}
"""Weights in a block and bytes of a block."""

TYPE_OF_ID: dict[int, str] = {number: name for number, (name, _, _) in TYPES.items()}
QUANT_OF_FILE_TYPE: dict[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0", 41: "Q2_0",
}  # fmt: skip

QUANTS: dict[str, str] = {
    "F32": "F32", "BF16": "BF16", "F16": "F16", "Q8_0": "Q8_0", "Q6_K": "Q6_K", "Q5_K_M": "Q5_K", "Q5_K_S": "Q5_K",
    "Q5_1": "Q5_1", "Q5_0": "Q5_0", "Q4_K_M": "Q4_K", "Q4_K_S": "Q4_K", "Q4_1": "Q4_1", "Q4_0": "Q4_0", "IQ4_NL": "IQ4_NL",
    "IQ4_XS": "IQ4_XS", "Q3_K_L": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_S": "Q3_K", "IQ3_M": "IQ3_S", "IQ3_S": "IQ3_S",
    "IQ3_XS": "IQ3_S", "Q2_K": "Q2_K",
    "MXFP4_MOE": "Q8_0", "Q2_0": "Q2_0", "TQ2_0": "TQ2_0", "TQ1_0": "TQ1_0", "Q1_0": "Q1_0",
}  # fmt: skip
"""The quantisations whose mix is known, largest first, and the type that most of a dense model's weights get."""
BY_REQUEST = frozenset({"MXFP4_MOE", "Q2_0", "TQ2_0", "TQ1_0", "Q1_0"})
"""For models with experts, or trained in so few bits: any other would suffer, so nobody is offered these."""

_FALLBACK = {
    **dict.fromkeys(("IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_K", "Q3_K", "Q2_0", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip
_MIX: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "Q5_K_M": {"attn_v": (("more", "Q6_K"),), "ffn_down": (("more", "Q6_K"),), "attn_qkv": (("all", "Q6_K"),)},
    "Q4_K_M": {"attn_v": (("more", "Q6_K"),), "ffn_down": (("more", "Q6_K"),), "attn_qkv": (("all", "Q5_K"),)},
    "Q4_K_S": {"attn_v": (("first four", "Q5_K"),), "ffn_down": (("first eighth", "Q5_K"),)},
    "IQ4_NL": {"attn_v": (("grouped", "Q5_K"),), "ffn_down": (("first eighth", "Q5_K"),)},
    "IQ4_XS": {"attn_v": (("grouped", "Q5_K"),), "ffn_down": (("first eighth", "Q5_K"),)},
    "Q3_K_L": {
        **dict.fromkeys(("attn_v", "ffn_down", "attn_output"), (("all", "Q5_K"),)),
        "attn_qkv": (("all", "Q4_K"),),
    },
    "Q3_K_M": {
        "attn_v": (("first two", "Q5_K"), ("all", "Q4_K")),
        "ffn_down": (("first sixteenth", "Q5_K"), ("all", "Q4_K")),
        "attn_output": (("all", "Q4_K"),),
        "attn_qkv": (("all", "Q4_K"),),
    },
    "IQ3_M": {"attn_v": (("all", "Q4_K"),), "ffn_down": (("first eighth", "Q4_K"),), "attn_output": (("all", "Q4_K"),)},
    "IQ3_S": {"attn_v": (("grouped", "Q4_K"),)},
    "IQ3_XS": {
        "attn_v": (("grouped", "Q4_K"),),
        **dict.fromkeys(("attn_k", "attn_q"), (("all", "IQ3_XXS"),)),
        **dict.fromkeys(("ffn_gate", "ffn_up"), (("middle", "IQ3_XXS"),)),
    },
    "Q2_K": {
        "attn_v": (("grouped", "Q4_K"), ("all", "Q3_K")),
        **dict.fromkeys(("ffn_down", "attn_output"), (("all", "Q3_K"),)),
    },
    "MXFP4_MOE": dict.fromkeys(("ffn_gate_exps", "ffn_up_exps", "ffn_gate_up_exps", "ffn_down_exps"), (("all", "MXFP4"),)),
}
"""For each quantisation and part of a layer: the first rule that holds gives the type. Experts follow their part."""
_EMBEDDING = dict.fromkeys(("Q2_0", "TQ2_0", "TQ1_0"), "Q4_K")
"""The quantisations that store an embedding finer than the rest."""


def find_quant(name: str) -> str | None:
    """Return the canonical spelling of a quantisation's name, or None where its mix is not known."""
    return next((quant for quant in QUANTS if quant.casefold() == name.casefold()), None)


def known_quant(name: str) -> str:
    """Return the canonical spelling of a quantisation's name; raise ConfigError where its mix is not known."""
    found = find_quant(name)
    if found is None:
        raise ConfigError(
            f"no size is known for quantisation {name!r}.{did_you_mean(name, QUANTS)} Known: {', '.join(QUANTS)}."
        )
    return found


def stored_bytes(type_: str, weights: int) -> int:
    """Return the bytes that a number of weights takes in a storage type."""
    per_block, size = BLOCKS[type_]
    return -(-weights // per_block) * size


def bits(type_: str) -> float:
    """Return the bits per weight of a storage type."""
    per_block, size = BLOCKS[type_]
    return 8 * size / per_block


def head_type(quant: str, columns: int) -> str:
    """Return the type of the output head, or of the embedding where it is the head too."""
    base = QUANTS[quant]
    if bits(base) >= 16 or base == "Q8_0":
        return _fitting(base, columns)
    return "Q6_K" if columns % BLOCKS[base][0] == 0 and columns % 256 == 0 else _fitting("Q8_0", columns)


def layer_type(quant: str, part: str, columns: int, layer: tuple[int, int], grouped: bool) -> str:
    """Return the type of one matrix of a layer (`part` as in GGUF: attn_q ... ffn_down; `layer`: its number, of how many).

    `grouped` says whether four or more query heads share a key head. A row that does not divide into blocks falls back.
    """
    mix = _MIX.get(quant, {})
    rules = mix.get(part) or mix.get(part.removesuffix("_exps"), ())
    chosen = next((type_ for when, type_ in rules if _holds(when, *layer, grouped)), QUANTS[quant])
    return _fitting(chosen, columns)


def embedding_type(quant: str, columns: int) -> str:
    """Return the type of a token embedding that is not the head."""
    return _fitting(_EMBEDDING.get(quant, QUANTS[quant]), columns)


def _holds(when: str, layer: int, layers: int, grouped: bool) -> bool:
    eighth, late = layers // 8, 7 * layers // 8
    return {
        "all": True,
        "more": layer < eighth or layer >= late or (layer - eighth) % 3 == 2,
        "middle": eighth <= layer < late,
        "first eighth": layer < eighth,
        "first sixteenth": layer < layers // 16,
        "first four": layer < 4,
        "first two": layer < 2,
        "grouped": grouped,
    }[when]


def _fitting(type_: str, columns: int) -> str:
    if columns % BLOCKS[type_][0]:
        type_ = _FALLBACK.get(type_, "F16")
    return "F16" if columns % BLOCKS[type_][0] else type_
