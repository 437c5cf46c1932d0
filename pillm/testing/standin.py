"""A stand-in for llama-server: a program that speaks as much of it as deployment asks, told by its model file what to do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pillm.testing.hostile import SOUND

_PROGRAM = """#!{python} -SE
import json, os, socketserver, sys, time
from http.server import BaseHTTPRequestHandler

if "--help" in sys.argv:
    print("-h, --help, --usage  print usage")
    told = "model host ctx-size parallel threads batch-size alias log-verbosity cors-origins api-key-file temp predict "
    told += "chat-template-file grammar-file"
    for name in told.split():
        print(f"--{{name}} X  what it is set to")
    print("--no-slots  expose nothing")
    sys.exit(0)
options = dict(zip(sys.argv[1:], sys.argv[2:]))
raw = open(options["--model"], "rb").read()
told = json.loads(raw[raw.find(b'{{"answer"'):])
keys = open(options["--api-key-file"]).read().split() if "--api-key-file" in options else []
ready = time.monotonic() + told.get("load", 0)
print("arguments:", json.dumps(sys.argv[1:]), flush=True)
if told.get("exit"):
    print("cannot load this", file=sys.stderr, flush=True)
    if told["exit"] > 100:
        os.kill(os.getpid(), told["exit"] - 100)
    sys.exit(told["exit"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        healthy = time.monotonic() >= ready and not told.get("sick")
        if self.path == "/v1/models" and self.refused():
            return None
        if self.path == "/v1/models":
            name, *others = options["--alias"].split(",")
            return self.send(200, {{"data": [{{"id": name, "aliases": others}}]}})
        self.send(200 if healthy else 503, {{"status": "ok" if healthy else "loading"}})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.refused():
            return None
        if self.path == "/apply-template":
            return self.send(404, {{"error": {{"message": "File Not Found", "code": 404}}}})
        time.sleep(told.get("think", 0))
        self.send(200, {{"choices": [{{"message": {{"content": told["answer"]}}}}], "model": options["--alias"]}})

    def refused(self):
        wrong = keys and self.headers.get("Authorization", "").removeprefix("Bearer ") not in keys
        if wrong:
            self.send(401, {{"error": {{"message": "Invalid API Key", "code": 401}}}})
        return wrong

    def send(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def address_string(self):
        return "somebody"

    def log_message(self, *words):
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 128
    daemon_threads = True


Server(options["--host"], Handler).serve_forever()
"""


def write_stand_in(path: Path) -> Path:
    """Write the program as an executable file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_PROGRAM.format(python=sys.executable), "utf-8")
    path.chmod(0o755)
    return path


def write_stand_in_model(path: Path, answer: str, **behaviour: Any) -> Path:
    """Write a model file for the stand-in: a small GGUF file, and behind it what to do, to answer everything with `answer`.

    `behaviour` may hold `load` (seconds until it is healthy), `sick` (never healthy), `think` (seconds for an answer) and
    `exit` (a status to end with at once; above 100 it is a signal's number and 100).
    """
    path.write_bytes(SOUND + json.dumps({"answer": answer, **behaviour}).encode())
    return path
