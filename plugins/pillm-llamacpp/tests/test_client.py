from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pillm_llamacpp.workers import client
from pillm_llamacpp.workers.client import Worker, WorkerDied, death

import pillm

_ORPHAN = """
import os, sys
from pillm_llamacpp.workers.client import Worker
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


def test_a_worker_that_ends_by_an_error_of_its_own_was_not_killed() -> None:
    worker = Worker("a test")
    with pytest.raises(WorkerDied, match="ended with status 1") as raised:
        worker.ask(nothing="that names an operation")
    assert not raised.value.killed
    assert "KeyError: 'op'" in str(raised.value)


def test_a_worker_that_was_killed_from_outside_is_told_as_killed() -> None:
    worker = Worker("a test")
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="SIGKILL") as raised:
        worker.ask(op="devices")
    assert raised.value.killed


def test_a_worker_that_falls_silent_and_stays_is_ended_and_was_not_killed_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(client, "CLOSE_SECONDS", 0.1)
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60 >&-\n")
    silent.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(silent))
    worker = Worker("a test")
    with pytest.raises(WorkerDied, match="closed its output") as raised:
        worker.receive()
    assert not raised.value.killed
    assert not _alive(worker.pid)


def test_closing_twice_is_harmless() -> None:
    worker = Worker("a test")
    worker.close()
    worker.close()
    with pytest.raises(pillm.BackendError, match="closed"):
        worker.ask(op="devices")
