"""A command on a board that is spoken with."""

from __future__ import annotations

from pathlib import Path

import pytest

import pillm
from pillm.remote.conversation import Conversation
from pillm.testing import LoopbackBoard

ECHO = ["sh", "-c", 'echo ready; while read -r word; do echo "$word?"; done; echo over > "$1"', "sh", "end"]


def test_each_line_gets_one_back_and_the_end_is_noticed_there(board: LoopbackBoard) -> None:
    with board.remote() as remote:
        with Conversation(remote, "the talk", ECHO) as talk:
            assert talk.hear(timeout=10) == "ready"
            assert talk.ask("who", timeout=10) == "who?"
            assert not (board.home / "end").exists()
        assert (board.home / "end").read_text() == "over\n"


def test_silence_has_an_end(board: LoopbackBoard) -> None:
    with (
        board.remote() as remote,
        Conversation(remote, "the talk", ["cat"]) as talk,
        pytest.raises(pillm.Unavailable, match="said nothing for 0 s"),
    ):
        talk.hear(timeout=0.1)


def test_a_command_that_ends_early_says_how(board: LoopbackBoard) -> None:
    with (
        board.remote() as remote,
        Conversation(remote, "the talk", ["sh", "-c", "echo no >&2; exit 4"]) as talk,
        pytest.raises(pillm.BackendError, match=r"the talk failed: status 4. It last said: no"),
    ):
        talk.ask("anything", timeout=10)


def test_a_cut_connection_is_told_from_a_failure(board: LoopbackBoard) -> None:
    with board.remote() as remote, Conversation(remote, "the talk", ECHO) as talk:
        assert talk.hear(timeout=10) == "ready"
        board.cut()
        with pytest.raises(pillm.Unavailable, match="connection broke during the talk"):
            talk.ask("who", timeout=10)


def test_a_held_command_ends_with_the_conversation_and_tells_how_it_ended(board: LoopbackBoard) -> None:
    with board.remote() as remote:
        with remote.hold("the server", ["sh", "-c", "echo up; exec sleep 300"]) as talk:
            assert talk.hear(timeout=10) == "up"
            assert talk.ended() is None
        with remote.hold("the server", ["sh", "-c", "kill -KILL $$"], needs=5_000_000_000) as talk:
            assert "needs 5.0 GB, has" in str(talk.ended(10))
    assert not any("sleep 300" in line for line in map(_command, board.processes()))


def _command(pid: int) -> str:
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_bytes().replace(b"\0", b" ").decode() if path.exists() else ""
