"""HTTP over a socket of this machine, such as one that ssh leads to a server on another."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOST = 1 << 26
_EVENT = b"data: "


class _Local(http.client.HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    path: Path, target: str, body: Mapping[str, Any] | None = None, *, timeout: float = 10.0, key: str | None = None
) -> tuple[int, Any]:
    """Return the status and the JSON body of an answer; raise OSError where nobody answers within `timeout` seconds.

    `key` is the API key that is shown.
    """
    with _reply(path, target, body, timeout, key) as reply:
        return reply.status, json.loads(reply.read(_MOST) or b"null")


@contextmanager
def _reply(
    path: Path, target: str, body: Mapping[str, Any] | None, timeout: float, key: str | None = None
) -> Iterator[http.client.HTTPResponse]:
    with closing(_Local(path, timeout)) as connection:
        try:
            text = None if body is None else json.dumps(body)
            headers = {} if body is None else {"Content-Type": "application/json"}
            headers |= {} if key is None else {"Authorization": f"Bearer {key}"}
            connection.request("GET" if body is None else "POST", target, body=text, headers=headers)
            yield connection.getresponse()
        except (http.client.HTTPException, ValueError) as error:
            raise ConnectionError(f"no answer that can be read ({error})") from error


@dataclass(frozen=True, slots=True)
class Reached:
    """An HTTP server behind a socket of this machine."""

    path: Path

    def ask(self, target: str, body: Mapping[str, Any] | None = None, *, timeout: float = 10.0) -> tuple[int, Any]:
        """Return the status and the JSON body of an answer; raise OSError where nobody answers within `timeout` seconds."""
        return ask(self.path, target, body, timeout=timeout)

    def stream(self, target: str, body: Mapping[str, Any], *, timeout: float = 10.0) -> Iterator[Any]:
        """Yield the JSON of each event of an answer as it comes; raise OSError where none comes within `timeout` seconds.

        An answer that is no stream of events is yielded as the one that it is.
        """
        with _reply(self.path, target, body, timeout) as reply:
            if not (reply.getheader("Content-Type") or "").startswith("text/event-stream"):
                yield json.loads(reply.read(_MOST) or b"null")
                return
            while line := reply.readline(_MOST):
                if line.startswith(_EVENT) and line.strip() != b"data: [DONE]":
                    yield json.loads(line[len(_EVENT) :])
