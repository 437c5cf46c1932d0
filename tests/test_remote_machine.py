"""A machine that ssh reaches: commands, files and memory of a real sshd on 127.0.0.1."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pillm
from pillm.testing import LoopbackBoard

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
EVIL = [
    "$(touch evil)",
    "`touch evil`",
    "; touch evil",
    "' ; touch evil; '",
    "\n touch evil\n",
    "-rf",
    "~",
    "*",
    "a\\",
    '"',
    "&",
    "!!",
]


def test_words_arrive_as_they_were_given(board: LoopbackBoard) -> None:
    with board.remote() as remote:
        assert remote.run(["printf", "%s|", "a b", "~", "$HOME;x"]) == "a b|~|$HOME;x|"
        assert remote.run(["cat"], stdin=b"from here") == "from here"
        assert remote.label == "board"
    machine: pillm.Machine = remote
    assert machine.run(["echo", "again"]) == "again\n"  # a closed connection is opened anew
    remote.close()


def test_no_word_becomes_a_command(board: LoopbackBoard) -> None:
    with board.remote() as remote:

        @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.sampled_from(EVIL) | WORDS, min_size=60, max_size=80))
        def arrive(words: list[str]) -> None:
            assert remote.run(["printf", "%s\\0", *words]).split("\0")[:-1] == words

        arrive()
    assert sorted(path.name for path in board.home.iterdir()) == []


def test_a_zero_byte_is_refused(board: LoopbackBoard) -> None:
    with board.remote() as remote, pytest.raises(pillm.ConfigError, match="zero byte"):
        remote.run(["echo", "a\0b"])


def test_small_files_are_read_and_missing_ones_are_none(board: LoopbackBoard) -> None:
    (board.home / "it's a file").write_text("yes\nno\n")
    with board.remote() as remote:
        assert remote.read(str(board.home / "it's a file")) == "yes\nno\n"
        assert remote.read("/nowhere") is None
        assert remote.read("/proc") is None
        assert (remote.memory() or 0) > 1e8
        assert (remote.free_space("/nowhere/at/all") or 0) > 0
        assert remote.path("~/models") == f"{board.home}/models"
        assert remote.path("/models/~") == "/models/~"


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        ("kill -ILL $$", pillm.BackendError, "built for another CPU"),
        ("kill -KILL $$", pillm.BackendError, r"out of memory \(needs 3\.0 GB, has [\d.]+ .B\)"),
        ("echo one >&2; exit 3", pillm.BackendError, "status 3. It last said: one"),
        ("exit 255", pillm.BackendError, "status 255"),
        ("echo 'No space left on device' >&2; exit 1", pillm.StorageError, "no space is left there"),
        ("exec no-such-program", pillm.MissingDependency, "board has no sh .*no-such-program"),
    ],
)
def test_the_end_of_a_command_is_put_in_words(board: LoopbackBoard, line: str, error: type[Exception], said: str) -> None:
    with board.remote() as remote, pytest.raises(error, match=said):
        remote.run(["sh", "-c", line], needs=3_000_000_000)


def test_a_command_that_takes_too_long_is_ended_there(board: LoopbackBoard) -> None:
    with board.remote() as remote:
        with pytest.raises(pillm.Unavailable, match=r"sh took longer than 1 s and was ended"):
            remote.run(["sh", "-c", "echo $$ > pid; sleep 60"], timeout=1)
        pid = (board.home / "pid").read_text().strip()
        assert not Path(f"/proc/{pid}").exists()


def test_an_unreachable_machine_is_unavailable(board: LoopbackBoard) -> None:
    board.unplug()
    with board.remote() as remote, pytest.raises(pillm.Unavailable, match=r"cannot be reached by ssh: .*refused"):
        remote.run(["true"])


def test_a_connection_that_was_cut_is_made_anew(board: LoopbackBoard) -> None:
    with board.remote() as remote:
        remote.run(["true"])
        board.cut()
        assert remote.run(["echo", "again"]) == "again\n"


def test_a_fingerprint_that_is_none_is_refused() -> None:
    with pytest.raises(pillm.ConfigError, match="no fingerprint"):
        pillm.Remote("board", accepted=("yes",))
