"""The tensors of a GGUF file and the names of storage types, by llama.cpp's own reading; inside a worker."""

from __future__ import annotations

import ctypes
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import llama_cpp.llama_cpp as llama
from llama_cpp._ggml import libggml

from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Params(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


_SIGNATURES = {
    "gguf_init_from_file": (ctypes.c_void_p, (ctypes.c_char_p, _Params)),
    "gguf_get_n_tensors": (ctypes.c_int64, (ctypes.c_void_p,)),
    "gguf_get_tensor_type": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int64)),
    "gguf_get_tensor_name": (ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_int64)),
    "gguf_get_tensor_offset": (ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_int64)),
    "gguf_get_tensor_size": (ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_int64)),
    "gguf_get_data_offset": (ctypes.c_size_t, (ctypes.c_void_p,)),
    "gguf_get_meta_size": (ctypes.c_size_t, (ctypes.c_void_p,)),
    "gguf_set_val_u32": (None, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32)),
    "gguf_set_val_str": (None, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)),
    "gguf_free": (None, (ctypes.c_void_p,)),
    "ggml_type_name": (ctypes.c_char_p, (ctypes.c_int,)),
    "ggml_blck_size": (ctypes.c_int64, (ctypes.c_int,)),
    "ggml_type_size": (ctypes.c_size_t, (ctypes.c_int,)),
}


class Stored(NamedTuple):
    """A tensor as a file stores it."""

    name: str
    type: str
    """In capitals, as files are named; a type without a name goes by its number."""
    bytes: int
    start: int
    """The byte of the file that it begins at."""


class Header(NamedTuple):
    """What a file holds: its tensors in order, and the size of what stands before their data, padding included."""

    tensors: list[Stored]
    bytes: int


def header_of(path: str, keys: Mapping[str, int | str] | None = None) -> Header:
    """Read the header of a file, as if it had some further keys; raise Refusal where llama.cpp cannot."""
    _declare()
    file = libggml.gguf_init_from_file(path.encode(), _Params(no_alloc=True, ctx=None))
    if not file:
        raise Refusal("data", f"llama.cpp cannot read {path}")
    try:
        tensors = [
            Stored(
                libggml.gguf_get_tensor_name(file, index).decode("utf-8", "replace"),
                _name(libggml.gguf_get_tensor_type(file, index)),
                libggml.gguf_get_tensor_size(file, index),
                libggml.gguf_get_data_offset(file) + libggml.gguf_get_tensor_offset(file, index),
            )
            for index in range(libggml.gguf_get_n_tensors(file))
        ]
        for key, value in (keys or {}).items():
            if isinstance(value, int):
                libggml.gguf_set_val_u32(file, key.encode(), value)
            else:
                libggml.gguf_set_val_str(file, key.encode(), value.encode())
        return Header(tensors, libggml.gguf_get_meta_size(file))
    finally:
        libggml.gguf_free(file)


def types_of(path: str) -> dict[str, int]:
    """Return how many tensors have each type; raise Refusal where llama.cpp cannot read the file."""
    return dict(sorted(Counter(tensor.type for tensor in header_of(path).tensors).items()))


@cache
def numbers() -> dict[str, int]:
    """Return the number of every storage type that llama.cpp has, by its name in capitals."""
    _declare()
    # past the last type lies memory that is not names
    names = {number: libggml.ggml_type_name(number) for number in range(llama.GGML_TYPE_COUNT)}
    return {name.decode("ascii").upper(): number for number, name in names.items() if libggml.ggml_blck_size(number) > 0}


def stored_bytes(type_: str, of: str, size: int) -> int:
    """Return the bytes of a tensor in one type that takes `size` bytes in another; both divide its rows."""
    (block, block_bytes), (was, was_bytes) = (
        (libggml.ggml_blck_size(numbers()[name]), libggml.ggml_type_size(numbers()[name])) for name in (type_, of)
    )
    return int(size // was_bytes * was // block * block_bytes)


@cache
def _declare() -> None:
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(libggml, name)
        function.restype, function.argtypes = result, arguments


def _name(number: int) -> str:
    found = libggml.ggml_type_name(number)
    return found.decode("ascii").upper() if found else str(number)
