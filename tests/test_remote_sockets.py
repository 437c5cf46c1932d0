"""HTTP over a socket of this machine."""

from __future__ import annotations

import http.client
import socket
import threading
from io import BufferedReader
from pathlib import Path

import pytest

from pillm.remote.sockets import Reached, ask


def _without_first_line(asked: BufferedReader) -> BufferedReader:
    asked.readline()
    return asked


def _reply(path: Path, said: bytes) -> threading.Thread:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def serve() -> None:
        with listening, listening.accept()[0] as one, one.makefile("rb") as asked:
            head = http.client.parse_headers(_without_first_line(asked))
            asked.read(int(head.get("Content-Length", 0)))  # who is hung up on while asking sees another error
            one.sendall(said)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_an_answer_is_its_status_and_its_json(tmp_path: Path) -> None:
    thread = _reply(tmp_path / "s", b'HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n{"a": 1}\n')
    assert Reached(tmp_path / "s").ask("/health") == (503, {"a": 1})
    thread.join()


@pytest.mark.parametrize("said", [b"", b"garbage", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnot"])
def test_what_is_no_answer_is_an_error_of_the_connection(tmp_path: Path, said: bytes) -> None:
    thread = _reply(tmp_path / "s", said)
    with pytest.raises(OSError):  # noqa: PT011 - whichever the system names it by
        ask(tmp_path / "s", "/x", {"a": 1})
    thread.join()
    with pytest.raises(OSError):  # noqa: PT011
        ask(tmp_path / "nowhere", "/")


def test_events_come_one_by_one_and_what_is_no_stream_comes_whole(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    thread = _reply(tmp_path / "s", head + b'data: {"a": 1}\n\n: still here\n\ndata: [2]\n\ndata: [DONE]\n\n')
    assert list(Reached(tmp_path / "s").stream("/x", {})) == [{"a": 1}, [2]]
    thread.join()
    thread = _reply(tmp_path / "t", b'HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\n\r\n{"error": "no"}')
    assert list(Reached(tmp_path / "t").stream("/x", {})) == [{"error": "no"}]
    thread.join()
    thread = _reply(tmp_path / "u", head + b"data: {not\n\n")
    with pytest.raises(OSError, match="no answer that can be read"):
        list(Reached(tmp_path / "u").stream("/x", {}))
    thread.join()
