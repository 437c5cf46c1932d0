"""Which tensors of a GGUF file hold what is no finite number, inside a worker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pillm_llamacpp.quantizing.tensortypes import header_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXPONENTS = {
    "F32": (np.uint32, 0x7F800000, 0x007FFFFF),
    "F16": (np.uint16, 0x7C00, 0x03FF),
    "BF16": (np.uint16, 0x7F80, 0x007F),
}
"""How a number is read, the bits that are all set in what is none, and its fraction."""
_AT_ONCE = 1 << 22


def unfinite(path: str) -> list[dict[str, Any]]:
    """Return each tensor in full precision that holds such: its name, and how many are `nan` and `infinite`."""
    return [{"name": name, **counts} for name, counts in _counted(Path(path)) if any(counts.values())]


def _counted(path: Path) -> Iterator[tuple[str, dict[str, int]]]:
    for name, kind, size, start in header_of(str(path)).tensors:
        if kind not in _EXPONENTS or not size:
            continue
        dtype, exponent, fraction = _EXPONENTS[kind]
        numbers = np.memmap(path, dtype, "r", start, (size // np.dtype(dtype).itemsize,))
        counts = {"nan": 0, "infinite": 0}
        for begin in range(0, len(numbers), _AT_ONCE):
            part = numbers[begin : begin + _AT_ONCE]
            odd = part[(part & dtype(exponent)) == exponent]
            if len(odd):
                nan = int(((odd & dtype(fraction)) != 0).sum())
                counts["nan"] += nan
                counts["infinite"] += len(odd) - nan
        yield name, counts
