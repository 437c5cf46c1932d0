"""The devices that the installed llama.cpp can compute on, inside a worker."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from llama_cpp.llama_cpp import _base_path

from pillm_llamacpp.inference.engine import start


def devices() -> list[tuple[str, str, int]]:
    """Return (backend, description, free bytes) of each device, as ggml lists them."""
    start()
    library = ggml()
    if library is None:
        return []
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    for name, kind in (("get", ctypes.c_void_p), ("description", ctypes.c_char_p), ("backend_reg", ctypes.c_void_p)):
        function = getattr(library, f"ggml_backend_dev_{name}")
        function.restype = kind
        function.argtypes = [ctypes.c_size_t if name == "get" else ctypes.c_void_p]
    library.ggml_backend_reg_name.restype = ctypes.c_char_p
    library.ggml_backend_reg_name.argtypes = [ctypes.c_void_p]
    size = ctypes.POINTER(ctypes.c_size_t)
    library.ggml_backend_dev_memory.restype, library.ggml_backend_dev_memory.argtypes = None, [ctypes.c_void_p, size, size]
    found = []
    for index in range(library.ggml_backend_dev_count()):
        device = library.ggml_backend_dev_get(index)
        backend = library.ggml_backend_reg_name(library.ggml_backend_dev_backend_reg(device))
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        library.ggml_backend_dev_memory(device, free, total)
        described = library.ggml_backend_dev_description(device).decode("utf-8", "replace")
        found.append((backend.decode(), described, free.value))
    return found


def ggml() -> Any:
    """Return the library below llama.cpp that knows the devices, of the same build; None where it stands elsewhere."""
    folder = Path(_base_path)  # LLAMA_CPP_LIB_PATH names another build's
    path = next((folder / name for name in ("libggml.so", "libggml.dylib") if (folder / name).exists()), None)
    return None if path is None else ctypes.CDLL(str(path))
