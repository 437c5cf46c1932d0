"""A server on this machine that a script downloads from."""

from __future__ import annotations

import hashlib
import http.server
import re
from typing import Any


class Hub:
    """A loopback server that answers as the hub does: sizes and hashes in headers, ranges, and connections that break."""

    def __init__(self) -> None:
        self.body = b"GGUF" + bytes(range(256)) * 400
        self.headers: dict[str, str] = {"X-Linked-ETag": f'"{hashlib.sha256(self.body).hexdigest()}"'}
        self.break_after: int | None = None
        self.ranges = True
        self.asked: list[str] = []
        self.served = 0
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                return None

            def do_HEAD(self) -> None:
                hub.reply(self, body=False)

            def do_GET(self) -> None:
                hub.reply(self, body=True)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def reply(self, request: http.server.BaseHTTPRequestHandler, *, body: bool) -> None:
        self.asked.append(f"{request.command} {request.path}")
        if "missing" in request.path:
            request.send_error(404)
            return
        if request.path.startswith(("/moved/", "/elsewhere/")):
            self._send_on(request)
            return
        begin = re.match(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(begin[1]) if begin and self.ranges else 0
        rest = self.body[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        for name, value in {"Content-Length": str(len(rest)), **self.headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if body:
            sent = rest if self.break_after is None else rest[: self.break_after]
            self.served += len(sent)
            request.wfile.write(sent)
            request.close_connection = True

    def _send_on(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Answer as the hub does for a model that was renamed, and for a file that a store of its own keeps."""
        renamed = request.path.startswith("/moved/")
        target = (
            request.path.replace("/moved/", "/a/") if renamed else f"{self.url}{request.path.replace('/elsewhere/', '/a/')}"
        )
        request.send_response(307 if renamed else 302)
        told = {} if renamed or not self.headers else {**self.headers, "X-Linked-Size": str(len(self.body))}
        for name, value in {"Location": target, "Content-Length": "0", **told}.items():
            request.send_header(name, value)
        request.end_headers()
