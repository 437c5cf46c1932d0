from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pillm_llamacpp.client import Worker, death

import pillm

_ORPHAN = """
import os, sys
from pillm_llamacpp.client import Worker
worker = Worker("a test")
worker.ask(op="open", path=sys.argv[1])
print(worker.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_worker_never_outlives_its_parent(gguf: pillm.ModelFile) -> None:
    done = subprocess.run([sys.executable, "-c", _ORPHAN, str(gguf.path)], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    limit = time.monotonic() + 20
    while _alive(pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        # a process that has ended but was not collected yet is a zombie
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGABRT, "llama.cpp aborted: one of its own checks failed (SIGABRT)"),
        (-signal.SIGSEGV, "llama.cpp crashed (SIGSEGV)"),
        (-signal.SIGILL, "built for another CPU"),
        (-signal.SIGKILL, "memory ran out"),
        (3, "ended with status 3"),
        (-250, "signal 250"),
    ],
)
def test_the_way_a_process_died_is_put_in_words(code: int, words: str) -> None:
    assert words in death(code)


def test_an_operation_that_does_not_exist_is_an_error_and_the_worker_lives() -> None:
    with Worker("a test") as worker:
        with pytest.raises(pillm.BackendError, match="a test: no model is open"):
            worker.ask(op="dance")
        assert all(free > 0 for _, _, free in worker.ask(op="devices")["devices"])


def test_closing_twice_is_harmless() -> None:
    worker = Worker("a test")
    worker.close()
    worker.close()
    with pytest.raises(pillm.BackendError, match="closed"):
        worker.ask(op="devices")
