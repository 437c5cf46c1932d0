"""Rows of weights become the bytes that a GGUF file holds; the same bytes as the converter's."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from pillm_llamacpp.writing.shards import widened

BLOCK = 32
"""How many values share a scale in Q8_0; rows of another width are stored as F16, as the converter does."""
_Q8_0, _Q8_0_BYTES = 8, 34
_Rows = np.ndarray[Any, Any]


def narrowed(rows: _Rows, like: str) -> _Rows:
    """Return float32 rows in the 16 bits of a stored type (BF16 as uint16), rounded to nearest even; F32 stays."""
    if like == "BF16":
        return _bf16(rows)
    return _half(rows) if like == "F16" else rows


def bytes_per_row(kind: str, columns: int) -> int:
    """Return how many bytes a row takes as a storage type."""
    if kind == "Q8_0":
        return columns // BLOCK * _Q8_0_BYTES
    return columns * (4 if kind == "F32" else 2)


def encode(kind: str, rows: _Rows) -> _Rows:
    """Return stored rows (float32, float16, or uint16 for BF16) as a storage type of a file."""
    if kind == "F32":
        return widened(rows)
    if kind == "F16":
        return _half(rows)
    if kind == "BF16":
        return rows if rows.dtype == np.uint16 else _bf16(widened(rows))
    return _q8_0(np.ascontiguousarray(widened(rows)))


def _half(rows: _Rows) -> _Rows:
    if rows.dtype == np.uint16:
        return _halves().take(rows)
    with np.errstate(over="ignore"):
        return rows.astype(np.float16, copy=False)


@cache
def _halves() -> _Rows:
    """Return float16 for each of the 65,536 values of BF16: looking up is faster than rounding."""
    with np.errstate(over="ignore", invalid="ignore"):
        return widened(np.arange(1 << 16, dtype=np.uint16)).astype(np.float16)


def _bf16(rows: _Rows) -> _Rows:
    bits = rows.view(np.uint32)
    made = bits >> 16
    made &= 1
    made += 0x7FFF
    made += bits
    made >>= 16
    rounded = made.astype(np.uint16)
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = np.isnan(rows.sum())
    if suspect:  # a NaN must stay one, whatever its lower bits are
        odd = np.isnan(rows)
        rounded[odd] = (bits[odd] >> 16).astype(np.uint16) | 64
    return rounded


def _q8_0(rows: _Rows) -> _Rows:
    count, columns = rows.shape
    made = np.empty(count * bytes_per_row("Q8_0", columns), np.uint8)
    pointer = ctypes.c_void_p
    _quantizer()(_Q8_0, pointer(rows.ctypes.data), pointer(made.ctypes.data), 0, count, columns, None)
    return made


@cache
def _quantizer() -> Any:
    from llama_cpp._ggml import libggml

    function = libggml.ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    function.argtypes = (ctypes.c_int, pointer, pointer, number, number, number, pointer)
    return function
