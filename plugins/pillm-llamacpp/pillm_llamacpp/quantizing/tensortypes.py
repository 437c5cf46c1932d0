"""The tensors of a GGUF file and their storage types, by llama.cpp's own reading; inside a worker."""

from __future__ import annotations

import ctypes
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llama_cpp._ggml import libggml

from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Params(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


_OF_TENSOR = (ctypes.c_void_p, ctypes.c_int64)
_SIGNATURES = {
    "gguf_init_from_file": (ctypes.c_void_p, (ctypes.c_char_p, _Params)),
    "gguf_get_n_tensors": (ctypes.c_int64, (ctypes.c_void_p,)),
    "gguf_get_tensor_type": (ctypes.c_int, _OF_TENSOR),
    "gguf_get_tensor_name": (ctypes.c_char_p, _OF_TENSOR),
    "gguf_get_tensor_offset": (ctypes.c_size_t, _OF_TENSOR),
    "gguf_get_tensor_size": (ctypes.c_size_t, _OF_TENSOR),
    "gguf_get_data_offset": (ctypes.c_size_t, (ctypes.c_void_p,)),
    "gguf_free": (None, (ctypes.c_void_p,)),
    "ggml_type_name": (ctypes.c_char_p, (ctypes.c_int,)),
}


class Header:
    """What an open file says of its tensors."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def types(self) -> Iterator[int]:
        """Yield each tensor's type by ggml's number."""
        for index in range(libggml.gguf_get_n_tensors(self._handle)):
            yield libggml.gguf_get_tensor_type(self._handle, index)

    def tensors(self) -> Iterator[tuple[str, int, int, int]]:
        """Yield each tensor's name, type, and the bytes from where and how many of the file it takes."""
        begin = libggml.gguf_get_data_offset(self._handle)
        for index, kind in enumerate(self.types()):
            name = libggml.gguf_get_tensor_name(self._handle, index).decode("utf-8", "replace")
            start = begin + libggml.gguf_get_tensor_offset(self._handle, index)
            yield name, kind, start, libggml.gguf_get_tensor_size(self._handle, index)


@contextmanager
def opened(path: str) -> Iterator[Header]:
    """Open a file's header; raise Refusal where llama.cpp cannot read it."""
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(libggml, name)
        function.restype, function.argtypes = result, arguments
    handle = libggml.gguf_init_from_file(path.encode(), _Params(no_alloc=True, ctx=None))
    if not handle:
        raise Refusal("data", f"llama.cpp cannot read {path}")
    try:
        yield Header(handle)
    finally:
        libggml.gguf_free(handle)


def types_of(path: str) -> dict[str, int]:
    """Return the counts by name in capitals, as files are named; a type without a name goes by its number."""
    with opened(path) as file:
        return dict(sorted(Counter(_name(number) for number in file.types()).items()))


def _name(number: int) -> str:
    found = libggml.ggml_type_name(number)
    return found.decode("ascii").upper() if found else str(number)
