"""What a process may take while it looks at something from outside; the kernel enforces it."""

from __future__ import annotations

import contextlib
import resource
import signal
import time
from typing import Final

MEBIBYTE: Final = 1 << 20
USUAL_START: Final = 0.1
"""Seconds of computing that the start of the child takes on a desktop, and with room to spare."""


def limit_process(*, seconds: float, megabytes: int, times: int = 1) -> None:
    """Let this process compute for so long and take so much memory; it may write no file, start no process, dump no core.

    `times` is how often `allow` will give it the seconds anew.
    Time is what it computes, in user and kernel mode: a busy machine makes nobody suspect. When it is over SIGPROF ends the
    process, whatever it is in.
    """
    limits = {
        resource.RLIMIT_AS: megabytes * MEBIBYTE,
        resource.RLIMIT_CPU: int(seconds * times) + 1,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for kind, most in limits.items():
        with contextlib.suppress(OSError, ValueError):  # not every system enforces every one of them
            resource.setrlimit(kind, (most, most))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    allow(seconds)


def on_this_machine(seconds: float) -> float:
    """Return the seconds that a machine gets: a slow one, by what the start of this process took, more than a desktop."""
    return seconds * max(1.0, time.process_time() / USUAL_START)


def allow(seconds: float) -> None:
    """Let this process compute for so long from now."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
