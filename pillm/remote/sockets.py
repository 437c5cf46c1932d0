"""HTTP over a socket of this machine, such as one that ssh leads to a server on another."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOST = 1 << 26


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


@dataclass(frozen=True, slots=True)
class Reached:
    """An HTTP server behind a socket of this machine."""

    path: Path

    def ask(self, target: str, body: Mapping[str, Any] | None = None, *, timeout: float = 10.0) -> tuple[int, Any]:
        """Return the status and the JSON body of an answer; raise OSError where nobody answers within `timeout` seconds."""
        return ask(self.path, target, body, timeout=timeout)
