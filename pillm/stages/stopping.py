"""Ctrl-C and SIGTERM while answers are in flight."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Protocol

from pillm.progress import Progress


class Interruptible(Protocol):
    """What sends requests until it is `interrupted`."""

    interrupted: bool
    progress: Progress


@contextmanager
def stopping(labeller: Interruptible) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the sending, so that what is in flight is still stored; a second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: SimpleQueue[bool] = SimpleQueue()

    def handle(number: int, _frame: object) -> None:
        # it may interrupt a write: it sets a flag, and leaves the telling to a thread by the one queue that allows this
        if labeller.interrupted:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        labeller.interrupted = True
        heard.put(True)

    def tell() -> None:
        if heard.get():
            labeller.progress.warn("stopping: what is in flight is still stored; a second signal stops at once")

    teller = threading.Thread(target=tell, name="pillm-stopping", daemon=True)
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    teller.start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        heard.put(False)
        teller.join()
