"""Which weights llama.cpp holds a second time: in the order that its kernels like, beside the file that stays mapped.

Source: `ggml_repack_get_optimal_repack_type` in `ggml/src/ggml-cpu/repack.cpp` and `llama_model_loader::load_all_data` of
llama.cpp 0.5.0-dev (commit 0c1e57098). The copy is memory of the process. The pages of the file that it was read from stay
mapped, are not read again, and count until the system takes them back: measured on x86 with IQ4_NL, a file of 134 MiB took
156 MiB as it is and 286 MiB with its copy. A program that reads the file instead of mapping it holds such weights once;
runner `local` does so with large files where memory is plentiful, so that a plan errs there on the safe side.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pillm.devices.shapes import ModelShape

_ROWS = 8
"""Rows that are laid out together: a matrix whose rows do not divide by it stays as it is."""
_DOTPROD = frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4", "Q8_0"})
_AVX2 = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
TILES = "amx_int8"


def repacked_by(flags: Collection[str]) -> frozenset[str]:
    """Return the storage types that are laid out anew on a processor with these flags of /proc/cpuinfo.

    Where there are matrix tiles, nothing: pillm leaves them alone, and llama.cpp would otherwise use nothing else.
    """
    if TILES in flags:
        return frozenset()
    if "asimddp" in flags:
        return _DOTPROD
    return (_AVX2 | ({"Q2_K"} if "avx512f" in flags else frozenset())) if "avx2" in flags else frozenset()


def repacked_bytes(shape: ModelShape, types: Collection[str]) -> int:
    """Return the bytes of the matrices that are held a second time; a tied embedding is copied as the head that it is."""
    return sum(one.bytes for one in shape.streamed if one.type in types and one.shape[1] % _ROWS == 0)
