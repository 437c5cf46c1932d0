"""What is worth trying on a device: quantisations by name, and storage types for single tensors."""

from __future__ import annotations

from collections.abc import Iterable

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

import pillm
from pillm_llamacpp.quantizing.quants import FTYPES

WHOLE = 256
"""The weights in a block of the K-quants."""
_BASES = {
    "Q8_0": "Q8_0", "Q6_K": "Q6_K", "Q5_K_M": "Q5_K", "Q5_K_S": "Q5_K", "Q5_1": "Q5_1", "Q5_0": "Q5_0", "Q4_K_M": "Q4_K",
    "Q4_K_S": "Q4_K", "Q4_1": "Q4_1", "Q4_0": "Q4_0", "IQ4_NL": "IQ4_NL", "IQ4_XS": "IQ4_XS", "Q3_K_L": "Q3_K",
    "Q3_K_M": "Q3_K", "Q3_K_S": "Q3_K", "Q2_K": "Q2_K", "IQ3_M": "IQ3_S", "IQ3_S": "IQ3_S",
}  # fmt: skip
"""Quantisation -> the type that most of its weights have; those made for models with experts or trained so are left out."""


def quantisations(profile: pillm.DeviceProfile, columns: Iterable[int]) -> tuple[str, ...]:
    """Return the quantisations to try on a device for matrices with rows of so many columns, from exact to small.

    A type that the device runs badly, or whose speed there nobody knows, is none of them; nor is one whose blocks do not
    fit every row, since its name would not say what the file holds.
    """
    widths = tuple(columns)
    return tuple(
        quant
        for quant, base in _BASES.items()
        if quant in FTYPES
        and quant not in profile.avoid
        and runs_well(base, profile)
        and all(width % block(base) == 0 for width in widths)
    )


def base(quant: str) -> str:
    """Return the type that most of a quantisation's weights have."""
    return _BASES[quant]


def tensor_types(profile: pillm.DeviceProfile, columns: int) -> tuple[str, ...]:
    """Return the storage types to try for a tensor with rows of so many columns, small to large."""
    types = dict.fromkeys(_BASES.values())
    fitting = [type_ for type_ in types if columns % block(type_) == 0 and _wanted(type_, profile)]
    return tuple(sorted(fitting, key=bits))


def runs_well(type_: str, profile: pillm.DeviceProfile) -> bool:
    """Say whether a device reads a type as fast as memory delivers it, as far as anybody knows."""
    return type_ not in profile.compute_bound and (not profile.cycles or type_ in profile.cycles)


def block(type_: str) -> int:
    """Return the weights in a block of a type."""
    return GGML_QUANT_SIZES[GGMLQuantizationType[type_]][0]


def bits(type_: str) -> float:
    """Return the bits per weight of a type."""
    weights, size = GGML_QUANT_SIZES[GGMLQuantizationType[type_]]
    return 8 * size / weights


def stored(type_: str, weights: int) -> int:
    """Return the bytes that so many weights take in a type."""
    per_block, size = GGML_QUANT_SIZES[GGMLQuantizationType[type_]]
    return weights // per_block * size


def _wanted(type_: str, profile: pillm.DeviceProfile) -> bool:
    return runs_well(type_, profile) and type_ not in profile.avoid
