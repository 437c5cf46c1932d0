"""How many tensors of a GGUF file have each storage type, by llama.cpp's own reading; inside a worker."""

from __future__ import annotations

import ctypes
from collections import Counter

from llama_cpp._ggml import libggml

from pillm_llamacpp.workers.refusal import Refusal


class _Params(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


_SIGNATURES = {
    "gguf_init_from_file": (ctypes.c_void_p, (ctypes.c_char_p, _Params)),
    "gguf_get_n_tensors": (ctypes.c_int64, (ctypes.c_void_p,)),
    "gguf_get_tensor_type": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int64)),
    "gguf_free": (None, (ctypes.c_void_p,)),
    "ggml_type_name": (ctypes.c_char_p, (ctypes.c_int,)),
}


def types_of(path: str) -> dict[str, int]:
    """Return the counts by name in capitals, as files are named; a type without a name goes by its number."""
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(libggml, name)
        function.restype, function.argtypes = result, arguments
    file = libggml.gguf_init_from_file(path.encode(), _Params(no_alloc=True, ctx=None))
    if not file:
        raise Refusal("data", f"llama.cpp cannot read {path}")
    try:
        numbers = [libggml.gguf_get_tensor_type(file, index) for index in range(libggml.gguf_get_n_tensors(file))]
        return dict(sorted(Counter(_name(number) for number in numbers).items()))
    finally:
        libggml.gguf_free(file)


def _name(number: int) -> str:
    found = libggml.ggml_type_name(number)
    return found.decode("ascii").upper() if found else str(number)
