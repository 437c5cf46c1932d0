"""The values that a quantised tensor's blocks can hold with their scales as they are, and how a choice of them is packed.

Layouts: `block_*` in `ggml/src/ggml-common.h` of llama.cpp; the other way about they are gguf's `dequantize`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize
from gguf.quants import IQ4_NL
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Field:
    """Where some bits of a block's codes stand: byte `width * group + w` from `offset` has `bits` of each of `subs` codes."""

    offset: int
    shift: int
    """The lowest of the code's bits that stand here."""
    groups: int
    subs: int
    width: int
    bits: int


_NIBBLES = {"subs": 2, "bits": 4, "shift": 0}
FIELDS: dict[str, tuple[Field, ...]] = {
    "Q8_0": (Field(offset=2, shift=0, groups=1, subs=1, width=32, bits=8),),
    "Q6_K": (Field(offset=0, groups=2, width=64, **_NIBBLES), Field(offset=128, shift=4, groups=2, subs=4, width=32, bits=2)),
    "Q5_K": (Field(offset=48, groups=4, width=32, **_NIBBLES), Field(offset=16, shift=4, groups=1, subs=8, width=32, bits=1)),
    "Q5_1": (Field(offset=8, groups=1, width=16, **_NIBBLES), Field(offset=4, shift=4, groups=4, subs=8, width=1, bits=1)),
    "Q5_0": (Field(offset=6, groups=1, width=16, **_NIBBLES), Field(offset=2, shift=4, groups=4, subs=8, width=1, bits=1)),
    "Q4_K": (Field(offset=16, groups=4, width=32, **_NIBBLES),),
    "Q4_1": (Field(offset=4, groups=1, width=16, **_NIBBLES),),
    "Q4_0": (Field(offset=2, groups=1, width=16, **_NIBBLES),),
    "IQ4_NL": (Field(offset=2, groups=1, width=16, **_NIBBLES),),
    "IQ4_XS": (Field(offset=8, groups=8, width=16, **_NIBBLES),),
    "Q3_K": (Field(offset=32, shift=0, groups=2, subs=4, width=32, bits=2), Field(0, 2, groups=1, subs=8, width=32, bits=1)),
    "Q2_K": (Field(offset=16, shift=0, groups=2, subs=4, width=32, bits=2),),
}
"""Storage type -> where the bits of its codes stand; types whose weights share a code are not here."""
_TABLE = np.array(IQ4_NL.kvalues, np.float32)
_TABLED = ("IQ4_NL", "IQ4_XS")
_UNIT = int(np.flatnonzero(_TABLE == 1)[0])
"""The code that stands for one step, so that it tells the scale."""


class Grid:
    """What the blocks of one tensor can hold: a value for every weight and code, the scales being given."""

    def __init__(self, type_: str, data: NDArray[np.uint8]) -> None:
        """Take a tensor's rows of bytes; raise KeyError for a type whose codes are not known."""
        self.type = type_
        self._data = data
        self._fields = FIELDS[type_]
        self.codes = 1 << sum(field.bits for field in self._fields)
        if type_ in _TABLED:
            self._zero = np.zeros(1, np.float32)
            self._step = self._decoded(_UNIT)
        else:
            self._zero = self._decoded(0)
            self._step = self._decoded(1) - self._zero

    def nearest(self, column: int, wanted: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the codes of one column that come nearest to the wanted values, one a row, and the values they stand for."""
        step = self._step[:, column]
        zero = self._zero if self.type in _TABLED else self._zero[:, column]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            place = np.where(step == 0, 0, (wanted - zero) / step)
        if self.type in _TABLED:
            codes = np.searchsorted((_TABLE[1:] + _TABLE[:-1]) / 2, place)
        else:
            codes = np.clip(np.rint(np.nan_to_num(place)), 0, self.codes - 1)
        chosen = codes.astype(np.uint8)
        return chosen, self.values(column, chosen)

    def values(self, column: int, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the codes of one column, one a row, stand for."""
        step = self._step[:, column]
        if self.type in _TABLED:
            return np.asarray(_TABLE[codes] * step, np.float32)
        return (self._zero[:, column] + codes * step).astype(np.float32)

    def packed(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the tensor's bytes with these codes, a row of them for each row, and the scales that it has."""
        weights, size = GGML_QUANT_SIZES[GGMLQuantizationType[self.type]]
        blocks = self._data.reshape(-1, size).copy()
        codes = codes.reshape(-1, weights) ^ np.uint8(128 if self.type == "Q8_0" else 0)
        for field in self._fields:
            parts = (codes >> field.shift) & ((1 << field.bits) - 1)
            parts = parts.reshape(-1, field.groups, field.subs, field.width)
            shifts = (np.arange(field.subs, dtype=np.uint8) * field.bits).reshape(1, 1, -1, 1).astype(np.uint8)
            merged = np.bitwise_or.reduce(parts << shifts, axis=2)
            blocks[:, field.offset : field.offset + field.groups * field.width] = merged.reshape(len(blocks), -1)
        return blocks.reshape(self._data.shape)

    def _decoded(self, code: int) -> NDArray[np.float32]:
        weights, size = GGML_QUANT_SIZES[GGMLQuantizationType[self.type]]
        rows, width = self._data.shape[0], self._data.shape[1] // size * weights
        return decoded(self.type, self.packed(np.full((rows, width), code, np.uint8)))


def decoded(type_: str, data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the weights that a tensor's bytes stand for."""
    found: NDArray[np.float32] = dequantize(data, GGMLQuantizationType[type_])
    return found
