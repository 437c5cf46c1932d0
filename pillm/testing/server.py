"""An OpenAI-compatible server in this process: real sockets, real HTTP, scripted behaviour."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from typing import Any, Self, TypeAlias

JSONObject: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One HTTP response: a status, a body (JSON or bytes), headers, and how long to think first."""

    status: int = 200
    body: JSONObject | bytes = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    dropped: bool = False
    """Close the connection without an answer."""

    @classmethod
    def text(cls, content: Any, *, delay: float = 0.0, finish_reason: str = "stop", **message: Any) -> Reply:
        """Return a chat completion with that text; further keywords become fields of the message."""
        return cls(body=completion(content, finish_reason=finish_reason, **message), delay=delay)

    @classmethod
    def error(cls, status: int, message: str = "no", *, code: str | None = None, **headers: str) -> Reply:
        """Return an error as OpenAI writes it; `retry_after="1"` becomes the header Retry-After."""
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        return cls(status=status, body={"error": {"message": message, "code": code, "type": code}}, headers=named)


def completion(content: Any, *, finish_reason: str = "stop", **message: Any) -> JSONObject:
    """Return the body of a chat completion."""
    words = len(content.split()) if isinstance(content, str) else 0
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 0,
        "model": "fake-model-2026",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **message},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": words, "total_tokens": 7 + words},
    }


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the server received it."""

    path: str
    headers: dict[str, str]
    body: JSONObject
    at: float
    """When it arrived, in seconds of `time.monotonic()`."""

    @property
    def text(self) -> str:
        """Return the text of the last message."""
        messages = self.body.get("messages") or [{}]
        return str(messages[-1].get("content") or "")


def shout(call: Call) -> Reply:
    """Return the last message in capitals: what the server answers unless told otherwise."""
    return Reply.text(call.text.upper())


class FakeOpenAIServer:
    """A server for tests on 127.0.0.1; a context manager.

    Scripted replies are used first, one per call in order of arrival; then `respond` answers. `calls` holds every
    request, `most_at_once` the largest number that were in the server's hands at the same time, `connections` how
    many connections were opened.
    """

    def __init__(self, replies: Iterable[Reply] = (), *, respond: Callable[[Call], Reply] = shout) -> None:
        self.calls: list[Call] = []
        self.most_at_once = 0
        self.connections = 0
        self._script = list(replies)
        self._respond = respond
        self._inside = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def base_url(self) -> str:
        """Return the address to give as `base_url`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def start(self) -> Self:
        """Start answering."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop answering and cut every connection."""
        self._closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.cut_connections()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reply_to(self, call: Call) -> Reply:
        with self._lock:
            self.calls.append(call)
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
            scripted = self._script.pop(0) if self._script else None
        try:
            reply = scripted or self._respond(call)
            closing = self._closing.wait(reply.delay)
            return Reply(dropped=True) if closing else reply
        finally:
            with self._lock:
                self._inside -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def __init__(self, fake: FakeOpenAIServer) -> None:
        self.fake = fake
        self._connections: set[socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        self.fake.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is what some tests are about."""

    def cut_connections(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """List the models."""
        self._send(Reply(body={"object": "list", "data": [{"id": "fake-model", "object": "model"}]}))

    def do_POST(self) -> None:
        """Answer a chat completion."""
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.path, headers, json.loads(text or b"{}"), time.monotonic())
        self._send(self.server.fake._reply_to(call))

    def _send(self, reply: Reply) -> None:
        if reply.dropped:
            self.close_connection = True
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
