"""Drop a file from the system's page cache, so that it is next read from the disk; no rights are needed for that."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

_PROT_READ, _MAP_SHARED = 1, 1
_COLD = 0.02


def drop(path: Path) -> bool:
    """Drop a file's pages and return whether they are gone; what another process maps stays, and then it is not cold."""
    if not hasattr(os, "posix_fadvise"):
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)  # pages that were not written yet cannot be dropped
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
    held = cached(path)
    return held is not None and held <= _COLD


def cached(path: Path) -> float | None:
    """Return how much (0..1) of a file stands in the page cache; None where the system does not tell."""
    size = path.stat().st_size
    libc = ctypes.CDLL(None, use_errno=True)
    if not size or not hasattr(libc, "mincore"):
        return None
    pages = -(-size // mmap.PAGESIZE)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    handle = os.open(path, os.O_RDONLY)
    try:
        address = libc.mmap(None, size, _PROT_READ, _MAP_SHARED, handle, 0)
    finally:
        os.close(handle)
    if address in (None, ctypes.c_void_p(-1).value):
        return None
    try:
        said = ctypes.create_string_buffer(pages)
        if libc.mincore(address, size, said):
            return None
        return sum(byte & 1 for byte in said.raw) / pages
    finally:
        libc.munmap(address, size)
