"""Servers that tell of themselves by paths of their own, as llama-server and Ollama do."""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any, Self

import pillm

QWERTY = b"GGUF, or so it says"


class Told:
    """A server on this machine that answers each path with a JSON document, and any other with 404; a context manager."""

    def __init__(self, **paths: Any) -> None:
        self.paths = {f"/{name.replace('__', '/')}": value for name, value in paths.items()}
        self.asked: list[tuple[str, Any]] = []
        told = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                return None

            def do_GET(self) -> None:
                self._reply(None)

            def do_POST(self) -> None:
                self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _reply(self, body: Any) -> None:
                told.asked.append((self.path, body))
                found = told.paths.get(self.path)
                found = found(body) if callable(found) else found
                text = json.dumps(found).encode() if not isinstance(found, bytes) else found
                status = 404 if found is None else 200
                if isinstance(found, dict) and isinstance(found.get("error"), dict):
                    status = found["error"]["code"]
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


def file(folder: Any, name: str = "student.gguf", content: bytes = QWERTY) -> pillm.ModelFile:
    """Return a model file, as far as a server of another's needs one."""
    path = folder / name
    path.write_bytes(content)
    return pillm.ModelFile.of(path, "Q8_0")


def listing(*names: str) -> dict[str, Any]:
    """Return what /v1/models says."""
    return {"data": [{"id": name} for name in names]}


def streamed(*events: Any) -> bytes:
    """Return events as a server streams them."""
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def refusal(status: int, message: str) -> dict[str, Any]:
    """Return what a server says that refuses."""
    return {"error": {"code": status, "message": message}}
