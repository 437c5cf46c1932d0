"""ggml's tensors as a callback sees them, read without copies where they lie in this machine's memory."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from llama_cpp._ggml import libggml

from pillm_llamacpp.workers.refusal import Refusal

F32, I32 = 0, 26
_OBJECT_BYTES = 32
_DIMENSIONS = 4


class Tensor(ctypes.Structure):
    """`struct ggml_tensor` of ggml.h, as the pinned llama.cpp has it."""


Tensor._fields_ = (
    ("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("ne", ctypes.c_int64 * _DIMENSIONS),
    ("nb", ctypes.c_size_t * _DIMENSIONS), ("op", ctypes.c_int), ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32), ("src", ctypes.POINTER(Tensor) * 10), ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t), ("data", ctypes.c_void_p), ("name", ctypes.c_char * 64), ("extra", ctypes.c_void_p),
    ("padding", ctypes.c_char * 8),
)  # fmt: skip


@cache
def operations() -> dict[str, int]:
    """Return the numbers of the matrix products; raise Refusal where ggml's tensors are laid out otherwise."""
    _declare()
    if libggml.ggml_tensor_overhead() != ctypes.sizeof(Tensor) + _OBJECT_BYTES:
        raise Refusal("backend", "the installed llama.cpp lays out its tensors otherwise than the release that this is for")
    found: dict[str, int] = {}
    number = 0
    while "MUL_MAT_ID" not in found:  # the last of the two; numbers past the last operation must not be asked for
        found[libggml.ggml_op_name(number).decode("ascii")] = number
        number += 1
    return {name: found[name] for name in ("MUL_MAT", "MUL_MAT_ID")}


def _declare() -> None:
    pointer = ctypes.POINTER(Tensor)
    for name, result, arguments in (
        ("ggml_tensor_overhead", ctypes.c_size_t, ()),
        ("ggml_op_name", ctypes.c_char_p, (ctypes.c_int,)),
        ("ggml_nbytes", ctypes.c_size_t, (pointer,)),
        ("ggml_backend_buffer_is_host", ctypes.c_bool, (ctypes.c_void_p,)),
        ("ggml_backend_tensor_get", None, (pointer, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)),
    ):
        function = getattr(libggml, name)
        function.restype, function.argtypes = result, arguments


def weight_name(tensor: Tensor) -> str:
    """Return the name of a weight in its file, without the marks of a copy: `CUDA0#blk.0.attn_k.weight#0`."""
    name = str(tensor.name.decode("utf-8", "replace"))
    parts = name.split("#")
    return parts[1] if len(parts) > 1 else name


def array(tensor: Any) -> np.ndarray[Any, Any]:
    """Return the values of a tensor of F32 or I32 with its last dimension first; only for as long as a callback runs."""
    size = libggml.ggml_nbytes(tensor)
    if libggml.ggml_backend_buffer_is_host(tensor.buffer):
        memory = (ctypes.c_char * size).from_address(tensor.data)
    else:
        memory = ctypes.create_string_buffer(size)
        libggml.ggml_backend_tensor_get(tensor, memory, 0, size)
    kind = np.float32 if tensor.type == F32 else np.int32
    shape, strides = tuple(tensor.ne)[::-1], tuple(tensor.nb)[::-1]
    return np.ndarray(shape, kind, memory, 0, strides)
