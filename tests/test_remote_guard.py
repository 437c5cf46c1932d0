"""Nothing is left running on a board whose connection broke."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import pillm
from pillm.remote.guard import guarded
from pillm.testing import LoopbackBoard

FAMILY = "sh -c 'echo $$ >> pids; sleep 60' & echo $$ >> pids; wait"


def until(there: bool, path: Path, seconds: float = 10) -> bool:
    """Wait until a path is there, or is gone; return whether it came to that."""
    end = time.monotonic() + seconds
    while path.exists() != there and time.monotonic() < end:
        time.sleep(0.02)
    return path.exists() == there


def all_gone(board: LoopbackBoard) -> bool:
    return all(until(False, Path(f"/proc/{pid}")) for pid in (board.home / "pids").read_text().split())


def test_a_broken_connection_ends_the_command_and_its_children(board: LoopbackBoard) -> None:
    with board.remote() as remote:

        def work() -> None:
            with suppress(pillm.PillmError):
                remote.run(["sh", "-c", FAMILY])

        thread = threading.Thread(target=work)
        thread.start()
        assert until(True, board.home / "pids")
        time.sleep(0.2)
        board.cut()
        thread.join(20)
        assert not thread.is_alive()
    assert all_gone(board)


def test_the_death_of_pillm_ends_the_command_and_its_children(board: LoopbackBoard) -> None:
    machine = f"pillm.Remote('board', ssh_config=pathlib.Path({str(board.ssh_config)!r}))"
    code = f"import pathlib, pillm\n{machine}.run(['sh', '-c', {FAMILY!r}])"
    process = subprocess.Popen([sys.executable, "-c", code])
    assert until(True, board.home / "pids")
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all_gone(board)


def test_a_command_that_ended_leaves_no_children(board: LoopbackBoard) -> None:
    with board.remote() as remote:
        remote.run(["sh", "-c", "sleep 60 & echo $! > pids"])
    assert all_gone(board)


@pytest.mark.parametrize("fed", [True, False])
@pytest.mark.parametrize(("line", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 254), ("kill -SEGV $$", 139)])
def test_the_status_of_the_command_is_kept(fed: bool, line: str, code: int) -> None:
    reading, writing = os.pipe()
    done = subprocess.run(["sh", "-c", guarded(["sh", "-c", line], fed=fed)], stdin=reading, capture_output=True, check=False)
    os.close(writing)
    os.close(reading)
    assert done.returncode == code
