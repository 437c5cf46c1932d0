"""Keep each rendering within time and memory, where it is rendered: a template may behave until it reads a certain word."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

RENDER_SECONDS: Final = 5.0
_STATM = Path("/proc/self/statm")


@contextlib.contextmanager
def limited_rendering(seconds: float = RENDER_SECONDS, megabytes: int | None = None) -> Iterator[None]:
    """Raise TimeoutError where a block computes for longer, and MemoryError where it takes more memory than that on top.

    Time is guarded in the main thread only, for Python delivers signals nowhere else; memory only where a number is given,
    since the limit holds for every thread of the process while the block runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        with _room(megabytes):
            yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL if before is None else before)


def _over(*_: Any) -> None:
    raise TimeoutError("the chat template takes too long over these messages")


@contextlib.contextmanager
def _room(megabytes: int | None) -> Iterator[None]:
    if megabytes is None or not _STATM.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = int(_STATM.read_text().split()[0]) * resource.getpagesize() + megabytes * 2**20
    if soft != resource.RLIM_INFINITY:
        most = min(most, soft)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
