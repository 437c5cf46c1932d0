"""The server on a board: how it ends, in words, and that it ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pillm_llamacpp.boards.boardserver import BoardServer
from pillm_llamacpp_boardtools import program, script, wrapped

import pillm
from pillm.deployment.programs import OPTIONS
from pillm.testing import LoopbackBoard, missing_for_board
from pillm.testing.standin import write_stand_in, write_stand_in_model

LACKING = missing_for_board()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)


@pytest.fixture
def pi(tmp_path: Path) -> Iterator[LoopbackBoard]:
    with LoopbackBoard(tmp_path / "pi") as board:
        yield board


def started(pi: LoopbackBoard, program: Path, *words: str, wait: float = 20.0) -> BoardServer:
    found = pillm.LlamaProgram(path=str(program), version="b1", flags={})
    return BoardServer(pi.remote(), found, list(words), needs=268_000_000, wait=wait)


def test_it_answers_until_it_is_closed_and_leaves_nothing(pi: LoopbackBoard) -> None:
    model = write_stand_in_model(pi.home / "m.gguf", answer="yes")
    server = started(pi, write_stand_in(pi.home / "llama-server"), "--model", str(model), "--alias", "me")
    body = {"messages": [{"role": "user", "content": "?"}]}
    assert server.load_ms > 0
    assert b"llama-server" in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    status, found = server.ask("/v1/chat/completions", body, timeout=10)
    assert (status, found["choices"][0]["message"]["content"]) == (200, "yes")
    server.close()
    server.close()
    until = time.monotonic() + 5
    while pi.processes() and time.monotonic() < until:
        time.sleep(0.1)
    assert [pid for pid in pi.processes() if b"llama-server" in Path(f"/proc/{pid}/cmdline").read_bytes()] == []


@pytest.mark.parametrize(
    ("does", "error", "complaint"),
    [
        (f"kill -{signal.SIGILL.value} $$", pillm.BackendError, "built for another CPU"),
        (f"kill -{signal.SIGKILL.value} $$", pillm.BackendError, r"out of memory \(needs 268 MB, has \d"),
        ("echo error: failed to load model >&2; exit 1", pillm.BackendError, "failed to load model"),
        ("sleep 60", pillm.Unavailable, "had not loaded its model after 1 s"),
    ],
)
def test_a_server_that_does_not_come_up_says_why(pi: LoopbackBoard, does: str, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        started(pi, script(pi.home / "llama-server", does), wait=1.0)


def test_a_board_without_the_memory_is_told_before_anything_is_started(pi: LoopbackBoard) -> None:
    found = pillm.LlamaProgram(path="llama-server", version="b1", flags={})
    with pytest.raises(pillm.ConfigError, match=r"needs 1000000000 MB .*smaller quantisation, context or parallel"):
        BoardServer(pi.remote(), found, [], needs=10**15, wait=1.0)
    assert not any("llama-server" in line for line in pi.commands)


def test_the_boards_own_server_knows_every_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wrapped(program("llama-server"), tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = pillm.find_llama_program(pillm.LocalMachine(), str(path))
    assert found.version.startswith("0.5.0")
    assert [name for name in OPTIONS if not found.knows(name)] == []
    assert found.words(mlock=True, flash_attn="on") == ["--load-mode", "mlock", "--flash-attn", "on"]
    assert found.serving(model="m", host="h", context=64, parallel=1)[1] == []
