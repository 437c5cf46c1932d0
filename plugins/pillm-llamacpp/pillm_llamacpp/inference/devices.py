"""The devices that the installed llama.cpp can compute on, inside a worker."""

from __future__ import annotations

import ctypes
from pathlib import Path

import llama_cpp.llama_cpp as llama

from pillm_llamacpp.workers.serving import start


def devices() -> list[tuple[str, str, int]]:
    """Return (backend, description, free bytes) of each device, as ggml lists them."""
    start()
    folder = Path(llama.__file__).parent / "lib"
    path = next((folder / name for name in ("libggml.so", "libggml.dylib") if (folder / name).exists()), None)
    if path is None:
        return []
    ggml = ctypes.CDLL(str(path))
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    for name, kind in (("get", ctypes.c_void_p), ("description", ctypes.c_char_p), ("backend_reg", ctypes.c_void_p)):
        function = getattr(ggml, f"ggml_backend_dev_{name}")
        function.restype = kind
        function.argtypes = [ctypes.c_size_t if name == "get" else ctypes.c_void_p]
    ggml.ggml_backend_reg_name.restype = ctypes.c_char_p
    ggml.ggml_backend_reg_name.argtypes = [ctypes.c_void_p]
    size = ctypes.POINTER(ctypes.c_size_t)
    ggml.ggml_backend_dev_memory.restype, ggml.ggml_backend_dev_memory.argtypes = None, [ctypes.c_void_p, size, size]
    found = []
    for index in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(index)
        backend = ggml.ggml_backend_reg_name(ggml.ggml_backend_dev_backend_reg(device))
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        ggml.ggml_backend_dev_memory(device, free, total)
        described = ggml.ggml_backend_dev_description(device).decode("utf-8", "replace")
        found.append((backend.decode(), described, free.value))
    return found
