"""Asking a server over a socket of this machine."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pillm
from pillm.deployment.asking import completion_of, is_healthy, names_of, prompt_of
from pillm.remote.sockets import ask
from pillm.testing.standin import write_stand_in, write_stand_in_model


@pytest.fixture
def serve() -> Iterator[Callable[..., Path]]:
    """Start stand-ins for llama-server, and end them."""
    started = []
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        root = Path(folder)
        program = write_stand_in(root / "llama-server")

        def start(**behaviour: Any) -> Path:
            model = write_stand_in_model(root / "m.gguf", "yes", **behaviour)
            socket = root / "s.sock"
            argv = [str(program), "--model", str(model), "--host", str(socket), "--alias", "me,~0a1b"]
            started.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL))
            until = time.monotonic() + 10
            while not socket.exists() and time.monotonic() < until:
                time.sleep(0.02)
            return socket

        yield start
        for process in started:
            process.kill()
            process.wait()


def test_a_server_is_asked(serve: Callable[..., Path]) -> None:
    socket = serve()
    assert is_healthy(socket)
    assert names_of(socket) == {"me", "~0a1b"}
    assert completion_of(socket, {"messages": []}, 10) == "yes"
    assert prompt_of(socket, []) is None, "it has no such page"
    assert ask(socket, "/health") == (200, {"status": "ok"})


def test_a_server_that_loads_is_not_healthy(serve: Callable[..., Path]) -> None:
    assert not is_healthy(serve(sick=True))


def test_silence_and_strange_answers_are_said(serve: Callable[..., Path], tmp_path: Path) -> None:
    assert not is_healthy(tmp_path / "nowhere")
    assert names_of(tmp_path / "nowhere") == frozenset()
    with pytest.raises(pillm.BackendError, match="no answer within 1 s"):
        completion_of(serve(think=5), {"messages": []}, 1)
