"""What both runners measure while a model is trained: the time of each step, its loss, and the memory above the model."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


class Watch:
    """Started once the model is loaded, told of each optimiser step, and stopped after the last."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._times: list[float] = []
        self._began = self._loaded = self._most = 0.0
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to count time and memory."""
        gc.collect()
        _trim()
        self._loaded = self._most = _memory()
        threading.Thread(target=self._poll, daemon=True).start()
        self._began = time.perf_counter()

    def step(self, loss: float) -> None:
        """Note that an optimiser step is done."""
        self._times.append(time.perf_counter() - self._began)
        self._losses.append(loss)

    def stop(self) -> dict[str, Any]:
        """Return what was measured: seconds from the start to the end of each step, losses, and the peak in MiB."""
        self._over.set()
        return {"times": self._times, "losses": self._losses, "peak_mib": (self._most - self._loaded) / 1024}

    def _poll(self) -> None:
        while not self._over.wait(0.01):
            self._most = max(self._most, _memory())


def _memory() -> float:
    """Return the KiB that this process holds and no file backs: weights that are read late are not counted twice."""
    found = dict(line.split(":", 1) for line in _STATUS.read_text("ascii").splitlines())
    return float(found["RssAnon"].split()[0])


def _trim() -> None:
    """Give what loading left over back to the system, so that training cannot use it unseen."""
    give = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give:
        give(0)
