"""A pytest plugin for `make test`: results are written without waiting for the disk, since nobody cuts the power of a test.

A third of many a test is that wait. What order a killed process leaves behind does not change. `make test-full` does wait.
"""

from __future__ import annotations

import os
import sys

WRITERS = ("pillm.files", "pillm.performance.history")
"""Who flushes what it wrote; others have other reasons, such as pages that only then can be dropped."""

_flush = os.fsync


def _fsync(handle: int) -> None:
    if sys._getframe(1).f_globals["__name__"] not in WRITERS:
        _flush(handle)


def pytest_configure() -> None:
    """Let go of the waiting."""
    os.fsync = _fsync


def pytest_unconfigure() -> None:
    """Wait again."""
    os.fsync = _flush
