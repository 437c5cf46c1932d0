"""A shell that stays open on a board: what sensors are read through."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pillm
from pillm.performance.sensors import Sensors
from pillm.testing import LoopbackBoard


def test_files_and_commands_come_through_one_command_of_ssh(board: LoopbackBoard) -> None:
    (board.home / "it's a file").write_text("one\\n\n  two | |three")
    with board.remote() as remote, remote.open_shell() as machine:
        told: pillm.Machine = machine
        assert told.label == "board"
        assert told.read(str(board.home / "it's a file")) == "one\\n\n  two | |three\n"
        assert told.read("/proc/meminfo") is not None
        assert (told.read("/nowhere"), told.read("/proc")) == (None, None)
        assert told.run(["printf", "%s|", "a b", "$HOME;x"]) == "a b|$HOME;x|\n"
        Sensors(told).read()
    assert len(board.commands) == 1


def test_no_word_becomes_a_command(board: LoopbackBoard) -> None:
    words = st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), max_size=20)
    with board.remote() as remote, remote.open_shell() as machine:

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(words | st.sampled_from(["$(touch evil)", "`touch evil`", "; touch evil", "'; touch evil; '", "-n", "|", "0"]))
        def arrive(word: str) -> None:
            assert machine.run(["printf", "%s.", word]) == f"{word}.\n"
            assert machine.read(f"/nowhere/{word}") is None

        arrive()
        assert machine.read("/now\nhere") is None
    assert list(board.home.iterdir()) == []


def test_ends_of_commands_are_errors_in_words(board: LoopbackBoard) -> None:
    with board.remote() as remote, remote.open_shell() as machine:
        with pytest.raises(pillm.MissingDependency, match="board has no no-such-program"):
            machine.run(["no-such-program"])
        with pytest.raises(pillm.BackendError, match=r"sh failed: status 3. It last said: why"):
            machine.run(["sh", "-c", "echo why >&2; exit 3"])
        assert machine.run(["echo", "on"]) == "on\n"


def test_one_that_takes_too_long_is_given_up_and_the_next_is_not_taken_for_it(board: LoopbackBoard) -> None:
    with board.remote() as remote, remote.open_shell() as machine:
        with pytest.raises(pillm.Unavailable, match="said nothing for 1 s"):
            machine.run(["sh", "-c", "sleep 2; echo late"], timeout=1.0)
        assert machine.run(["echo", "new"]) == "new\n"


def test_several_may_ask_at_once(board: LoopbackBoard) -> None:
    heard: dict[str, str] = {}
    with board.remote() as remote, remote.open_shell() as machine:

        def ask(word: str) -> None:
            heard[word] = machine.run(["echo", word])

        threads = [threading.Thread(target=ask, args=(str(number),)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert heard == {str(number): f"{number}\n" for number in range(8)}


def test_it_is_gone_with_the_connection_and_leaves_nothing(board: LoopbackBoard) -> None:
    with board.remote() as remote, remote.open_shell() as machine:
        machine.run(["sh", "-c", "echo $PPID > pid"])
        pid = (board.home / "pid").read_text().strip()
        board.cut()
        with pytest.raises(pillm.Unavailable, match="the connection broke during the look"):
            machine.read("/proc/uptime")
        assert machine.read("/proc/uptime") is not None  # made anew
    until = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_board_that_ends_its_name_with_a_zero_is_read(board: LoopbackBoard) -> None:
    (board.home / "model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    with board.remote() as remote, remote.open_shell() as machine:
        assert (machine.read(str(board.home / "model")) or "").strip("\0\n ") == "Raspberry Pi 4 Model B Rev 1.4"
