"""A server with OpenAI's batch API, in this process: files go up, batches end when they are told to, files come down."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from pillm_openai import OpenAI

import pillm
from pillm.stages.labelling import Labelled
from pillm.testing.server import completion

JSON = dict[str, Any]


def shout(body: JSON) -> JSON:
    """Return the line of a request that is answered in capitals."""
    text = str(body["messages"][-1]["content"])
    return {"response": {"status_code": 200, "request_id": "r", "body": completion(text.upper())}, "error": None}


class BatchQueue:
    """Takes batches of chat completions; a context manager."""

    def __init__(self, respond: Callable[[JSON], JSON] = shout) -> None:
        self.respond = respond
        self.files: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        """File name by id."""
        self.batches: dict[str, JSON] = {}
        self.headers: list[dict[str, str]] = []
        self.held = False
        """Whether batches stay in progress."""
        self.refuse: dict[str, tuple[int, JSON | bytes]] = {}
        """`METHOD path` -> status and body that it is answered with."""
        self.cut_after_creating = False
        self.keeps_metadata = True
        self.turns_pages = True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.queue = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def lines(self, batch: JSON) -> list[JSON]:
        """Return the requests of a batch."""
        return [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]

    def create(self, asked: JSON) -> JSON:
        """Take a batch."""
        number = f"batch_{len(self.batches)}"
        asked = asked if self.keeps_metadata else {**asked, "metadata": None}
        batch = {"id": number, "object": "batch", "created_at": int(time.time()), "status": "in_progress", **asked}
        batch["request_counts"] = {"total": len(self.lines(batch)), "completed": 0, "failed": 0}
        self.batches[number] = batch
        return batch

    def look(self, batch: JSON) -> JSON:
        """Return a batch, done unless batches are held."""
        if batch["status"] == "in_progress" and not self.held:
            self.end(batch)
        return batch

    def end(self, batch: JSON, status: str = "completed") -> None:
        """Answer every request of a batch."""
        made = [{"id": "l", "custom_id": line["custom_id"], **self.respond(line["body"])} for line in self.lines(batch)]
        fine = [line for line in made if line["response"]]
        for name, lines in (("output_file_id", fine), ("error_file_id", [line for line in made if line not in fine])):
            if lines:
                batch[name] = f"file-{batch['id']}-{name}"
                self.files[batch[name]] = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        batch["status"] = status
        batch["request_counts"] = {"total": len(made), "completed": len(fine), "failed": len(made) - len(fine)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def queue(self) -> BatchQueue:
        return self.server.queue  # type: ignore[attr-defined,no-any-return]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refused():
            return
        if self.path == "/v1/files":
            boundary = re.search("boundary=(.+)", self.headers["Content-Type"])[1].encode()  # type: ignore[index]
            part = next(part for part in body.split(b"--" + boundary) if b"filename=" in part)
            head, _, content = part.partition(b"\r\n\r\n")
            number = f"file-{len(self.queue.files)}"
            self.queue.files[number] = content.removesuffix(b"\r\n")
            self.queue.names[number] = re.search(rb'filename="([^"]+)"', head)[1].decode()  # type: ignore[index]
            self._send({"id": number, "object": "file", "bytes": 1, "created_at": 1, "filename": "f", "purpose": "batch"})
        elif self.path == "/v1/batches":
            made = self.queue.create(json.loads(body))
            if self.queue.cut_after_creating:
                self.close_connection = True
            else:
                self._send(made)
        else:
            text = json.loads(body)["messages"][-1]["content"]
            self._send(completion(f"one by one: {text}"))

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/v1/")
        if self._refused():
            return
        if path == "batches":
            every = sorted(self.queue.batches.values(), key=lambda one: -int(one["id"].split("_")[1]))
            after = parse_qs(parts.query).get("after", [""])[0]
            start = next((place + 1 for place, one in enumerate(every) if one["id"] == after and self.queue.turns_pages), 0)
            page = every[start : start + 2]
            self._send(
                {
                    "object": "list",
                    "data": page,
                    "has_more": start + 2 < len(every),
                    "last_id": page[-1]["id"] if page else None,
                }
            )
        elif path.startswith("files/") and not path.endswith("/content"):
            number = path.removeprefix("files/")
            self._send({"id": number, "object": "file", "filename": self.queue.names.get(number, "theirs.jsonl")})
        elif path.startswith("batches/"):
            self._send(self.queue.look(self.queue.batches[path.removeprefix("batches/")]))
        else:
            self._send(self.queue.files[path.split("/")[1]])

    def _refused(self) -> bool:
        self.queue.headers.append({name.lower(): value for name, value in self.headers.items()})
        found = self.queue.refuse.get(f"{self.command} {urlsplit(self.path).path}")
        if found:
            self._send(found[1], found[0])
        return found is not None

    def _send(self, body: JSON | bytes, status: int = 200) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def prompts(count: int) -> list[pillm.Prompt]:
    """Return so many questions."""
    return [pillm.Prompt(id=f"r{n}", messages=({"role": "user", "content": f"ça {n}"},)) for n in range(count)]


def teacher(queue: BatchQueue, **options: Any) -> OpenAI:
    """Return a teacher that sells by the queue, quickly."""
    fast = {"batch": True, "batch_size": 3, "batch_poll": 0.01, "timeout": 10.0}
    return OpenAI(**{"model": "m", "base_url": queue.base_url, **fast, **options})


def go(queue: BatchQueue, out: Path, count: int = 7, **options: Any) -> Labelled:
    """Label so many questions."""
    return pillm.label(prompts(count), teacher(queue, **options), out)


def answers(labelled: Labelled) -> dict[str, str]:
    """Return the answers by row."""
    return {one.prompt.id: one.answer.content for one in labelled}
