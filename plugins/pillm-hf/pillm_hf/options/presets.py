"""QLoRA presets by GPU generation, as data. An option that is given always beats its preset."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

Preset: TypeAlias = Literal["ampere-balanced", "turing-safe", "ada-memory"]

_ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]

PRESETS: dict[str, dict[str, Any]] = {
    # Ampere and Hopper: RTX 30 and later, A100, A800, H100
    "ampere-balanced": {
        "load_in_4bit": True, "quant_type": "nf4", "double_quant": True, "compute_dtype": "bfloat16",
        "rank": 64, "alpha": 128, "dropout": 0.05, "target_modules": _ATTENTION,
    },
    # Turing and older: RTX 20, T4; they have no bfloat16
    "turing-safe": {
        "load_in_4bit": True, "quant_type": "nf4", "double_quant": True, "compute_dtype": "float16",
        "rank": 32, "alpha": 64, "dropout": 0.10, "target_modules": _ATTENTION,
    },
    # Ada with 24 GB: RTX 40
    "ada-memory": {
        "load_in_4bit": True, "quant_type": "fp4", "double_quant": False, "compute_dtype": "bfloat16",
        "rank": 16, "alpha": 32, "dropout": 0.05, "target_modules": [*_ATTENTION, "up_proj", "down_proj"],
    },
}  # fmt: skip
