"""Asking a llama-server on a board, through a socket here that ssh leads there."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pillm.errors import BackendError

_MOST = 1 << 22


class _Local(http.client.HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, target: str, body: Mapping[str, Any] | None = None, *, timeout: float = 10.0) -> tuple[int, Any]:
    """Return the status and the JSON body of an answer; raise OSError where nobody answers within `timeout` seconds."""
    connection = _Local(path, timeout)
    try:
        text = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", target, body=text, headers=headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read(_MOST) or b"null")
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError(f"no answer that can be read ({error})") from error
    finally:
        connection.close()


def is_healthy(path: Path) -> bool:
    """Return whether the server is ready: its model is loaded."""
    try:
        return ask(path, "/health")[0] == 200
    except OSError:
        return False


def names_itself(path: Path) -> str | None:
    """Return the first name under which the server lists its model, or None."""
    try:
        return str(ask(path, "/v1/models")[1]["data"][0]["id"])
    except (OSError, LookupError, TypeError):
        return None


def completion_of(path: Path, request: Mapping[str, Any], timeout: float) -> str:
    """Return the text that the server completes a chat with; raise BackendError where it does not answer with one."""
    try:
        status, body = ask(path, "/v1/chat/completions", request, timeout=timeout)
    except OSError as error:
        raise BackendError(f"it gave no answer within {timeout:.0f} s ({error})") from error
    try:
        return str(body["choices"][0]["message"]["content"] or "")
    except (LookupError, TypeError) as error:
        raise BackendError(f"it answered with status {status}: {json.dumps(body)[:200]}") from error
