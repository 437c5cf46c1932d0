"""Hold weights in 8 or 4 bit with bitsandbytes, without letting it fetch code."""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pillm

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

LoadIn: TypeAlias = Literal["none", "8bit", "4bit"]


def quantization(
    load_in: LoadIn, compute: torch.dtype, *, kind: Literal["nf4", "fp4"] = "nf4", double: bool = True
) -> BitsAndBytesConfig | None:
    """Return how bitsandbytes shall hold the weights, or None; raise MissingDependency where it is not installed."""
    if load_in == "none":
        return None
    require_bitsandbytes(load_in)
    import_bitsandbytes()
    from transformers import BitsAndBytesConfig

    if load_in == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=compute,
    )


def require_bitsandbytes(load_in: LoadIn) -> None:
    """Raise MissingDependency where weights shall be held in 8 or 4 bit and bitsandbytes is not installed."""
    if load_in != "none" and find_spec("bitsandbytes") is None:
        remedy = "pip install './plugins/pillm-hf[quant]'"
        raise pillm.MissingDependency(f"{load_in} weights need bitsandbytes. Install it: {remedy}")


def keep_gradients(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights at the first validation on a CPU, into a form without gradients."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def import_bitsandbytes() -> bool:
    """Import bitsandbytes where it is installed, and return whether it is; call this before peft, which imports it too.

    While it is imported the package `kernels` cannot be: with that package it would download compiled code.
    """
    if "bitsandbytes" in sys.modules:
        return True
    if find_spec("bitsandbytes") is None:
        return False
    kernels = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "kernels"}
    sys.modules["kernels"] = None  # type: ignore[assignment]  # how Python spells "cannot be imported"
    log = logging.getLogger("bitsandbytes")
    level = log.level
    log.setLevel(logging.ERROR)  # it would advise to install that package
    try:
        import bitsandbytes  # noqa: F401
    finally:
        del sys.modules["kernels"]
        sys.modules.update(kernels)
        log.setLevel(level)
    return True
