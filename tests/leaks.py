"""Fourteen secrets, a server that repeats what it was sent, and a search for them in all that a command leaves; run by
`test_secrets.py`."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, Self
from urllib.parse import quote

from pillm.testing import FAKES, completion, write_plugin

NAMES = (
    "the key", "the key in the env file", "another key", "an admin key", "a webhook secret", "the hub token",
    "a password in OPENAI_BASE_URL", "the http proxy password", "the https proxy password", "a password in .netrc",
    "a key in the env file that nobody names", "the token of a redirection", "the server cookie", "a row that is left out",
)  # fmt: skip
SECRETS = {name: f'sk{hashlib.sha256(name.encode()).hexdigest()[:28]}+/=~&"{{}}%' for name in NAMES}
"""Each holds what base64, URLs and JSON write in another way; none has a beginning that another one has."""

FAILURES = (
    "answers", "401", "403", "404", "400", "402", "429 quota", "429 rate", "429 wait", "500", "503 text", "redirect",
    "200 error", "choice error", "not JSON", "cut", "cut message", "refusal", "model", "encoding", "header", "status line",
    "hangs", "drops", "SIGTERM", "refused", "wrong key", "proxy refuses", "proxy is away", "OPENAI_BASE_URL", "base_url",
    "env file",
)  # fmt: skip
"""What may go wrong; the server plays the one that the model is named after."""


def forms(secret: str) -> Iterator[bytes]:
    """Yield the beginnings by which a secret is found: one for raw, URL and JSON; base64 by what precedes."""
    yield secret[:16].encode()
    for before in ("", "Bearer ", "user:"):
        coded = base64.b64encode((before + secret).encode()).decode()
        yield coded[-(-len(before) * 4 // 3) :][4:20].encode()


def echoed(key: str) -> str:
    """Return what a server says that repeats the key in every way."""
    coded = base64.b64encode(key.encode()).decode()
    return f"Bearer {key} ({quote(key, safe='')}; {coded}; {json.dumps(key)}) is not known, sent {key!r}"


def _http(status: str, body: bytes | dict[str, Any], **headers: str) -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(text))}

    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1") + text


def reply(how: str, key: str) -> bytes:
    """Return the bytes of the response that a failure consists of, with the key in it wherever it can stand."""
    said, cookie = echoed(key), {"Set_Cookie": SECRETS["the server cookie"], "X_Echo": key}
    whole = completion("fine")
    errors = {"429 quota": ("429 No", "insufficient_quota"), "429 rate": ("429 No", "rate"), "429 wait": ("429 No", "rate")}
    if how == "429 wait":
        cookie["Retry_After"] = "9999"
    if how[:3].isdecimal() and how not in ("200 error", "503 text"):
        status, code = errors.get(how, (f"{how[:3]} No", key))
        return _http(status, {"error": {"message": said, "code": code, "type": key}}, **cookie)
    bodies: dict[str, bytes | dict[str, Any]] = {
        "answers": whole,
        "503 text": said.encode(),
        "200 error": {"error": {"message": said, "code": 500}},
        "choice error": {"choices": [{"error": {"message": said}}]},
        "not JSON": said.encode(),
        "cut message": {"error": {"message": "x" * (295 - len("the server answered 500: ")) + key}},
        "refusal": {"choices": [{"message": {"role": "assistant", "content": None, "refusal": said}}]},
        "model": whole | {"model": f"m-{key}", "system_fingerprint": key},
    }
    if how in bodies:
        status = {"503 text": "503 No", "cut message": "500 No"}.get(how, "200 OK")
        return _http(status, bodies[how], **cookie)
    if how == "redirect":
        return _http("307 No", b"", Location=f"http://127.0.0.1:9/?t={quote(SECRETS['the token of a redirection'])}&k={key}")
    raw = {
        "cut": _http("200 OK", said.encode(), Content_Length="9999"),
        "encoding": _http("200 OK", b"x", Content_Encoding=key),
        "header": f"HTTP/1.1 200 OK\r\n{said}: \0\r\nX: {said}\0\r\n\r\n".encode("latin-1"),
        "status line": f"{said}\r\n\r\n".encode("latin-1"),
        "proxy refuses": f"HTTP/1.1 407 {said}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"),
    }
    return raw.get(how, b"")


class Echo(ThreadingTCPServer):
    """A server that plays the failure its request names, and proxies nothing; a context manager."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.heard: set[str] = set()

    @property
    def port(self) -> int:
        """Return where it listens."""
        return int(self.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is a part of it."""


class _Handler(StreamRequestHandler):
    server: Echo

    def handle(self) -> None:
        while (line := self.rfile.readline()).strip():
            headers = dict(self._headers())
            key = headers.get("authorization", "").removeprefix("Bearer ")
            if line.startswith(b"CONNECT"):
                how, key = "proxy refuses", headers.get("proxy-authorization", "")
                with suppress(ValueError):
                    key = base64.b64decode(key.removeprefix("Basic ")).decode().partition(":")[2]
            else:
                how = json.loads(self.rfile.read(int(headers["content-length"])))["model"]
            self.server.heard.add(key)
            self.server.asked.set()
            if how in ("hangs", "SIGTERM"):
                self.server.go_on.wait(20)
            self.wfile.write(reply("answers" if how == "SIGTERM" else how, key))
            if how not in ("answers", "SIGTERM"):
                return

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self.rfile.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()


def play(how: str, inputs: Path, left: Path) -> tuple[int, set[str]]:
    """Label with a failure; return the exit code and the keys that the server heard. All that is written stands in `left`."""
    inputs.mkdir()
    left.mkdir()
    with Echo() as server:
        command, environment = _command(how, server.port, inputs, left), _environment(how, server.port, inputs, left)
        with (left / "stdout").open("wb") as out, (left / "stderr").open("wb") as err:
            child = subprocess.Popen(command, env=environment, stdout=out, stderr=err, cwd=left)
            if how == "SIGTERM":
                server.asked.wait(60)
                child.send_signal(signal.SIGTERM)
                threading.Timer(0.5, server.go_on.set).start()
            code = child.wait(60)
        return code, server.heard


def _command(how: str, port: int, inputs: Path, left: Path) -> list[str]:
    prompts, env_file = inputs / "prompts.jsonl", inputs / ".env"
    rows = ({"id": f"r{n}", "user": text} for n, text in enumerate(("hi", "you", f"drop {SECRETS['a row that is left out']}")))
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    wrong = f"{SECRETS['the key in the env file']}\n" if how == "env file" else ""
    env_file.write_text(
        f"FILE_KEY={SECRETS['the key in the env file']}\nSPARE={SECRETS['a key in the env file that nobody names']}\n{wrong}"
    )
    options = {"model": how, "max_retries": 1, "backoff": 0, "timeout": 1 if how == "hangs" else 20, "concurrency": 1}
    options |= {"base_url": _address(how, port)} if how != "OPENAI_BASE_URL" else {}
    options["api_key_env"] = "FILE_KEY" if FAILURES.index(how) % 2 and how != "wrong key" else "TEACHER_KEY"
    words = [sys.executable, "-m", "pillm", "label", prompts, "--teacher", "openai", "--out", left / "out", "-vv"]
    words += ["--log-file", left / "log", "--env-file", env_file, "--filter", "drop:word=drop"]
    return [str(word) for word in (*words, *(part for name in options for part in ("-o", f"{name}={options[name]}")))]


def _address(how: str, port: int) -> str:
    if how == "base_url":
        return f"http://user:{quote(SECRETS['a password in OPENAI_BASE_URL'], safe='')}@127.0.0.1:{port}/v1"
    if how.startswith("proxy"):
        return "https://api.example.test/v1"
    return f"http://127.0.0.1:{9 if how == 'refused' else port}/v1"


def _environment(how: str, port: int, inputs: Path, left: Path) -> dict[str, str]:
    plugins = inputs / "plugins"
    write_plugin(plugins, "fakes", FAKES)
    netrc = inputs / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {SECRETS['a password in .netrc'][:26]}\n")
    proxy = 9 if how == "proxy is away" else port
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "OMP_NUM_THREADS") if name in os.environ}
    return kept | {
        "HOME": str(inputs), "NETRC": str(netrc), "TMPDIR": str(left), "PYTHONPATH": str(plugins), "NO_COLOR": "1",
        "PILLM_PLUGINS": "openai,fakes", "OPENAI_LOG": "debug", "PYTHONDONTWRITEBYTECODE": "1",
        "TEACHER_KEY": SECRETS["the key"] + ("é\nend" if how == "wrong key" else ""),
        "OPENAI_API_KEY": SECRETS["another key"],
        "OPENAI_ADMIN_KEY": SECRETS["an admin key"],
        "OPENAI_WEBHOOK_SECRET": SECRETS["a webhook secret"], "HF_TOKEN": SECRETS["the hub token"],
        "OPENAI_BASE_URL": f"http://user:{quote(SECRETS['a password in OPENAI_BASE_URL'], safe='')}@127.0.0.1:{port}/v1",
        "HTTP_PROXY": f"http://user:{quote(SECRETS['the http proxy password'], safe='')}@127.0.0.1:{proxy}",
        "HTTPS_PROXY": f"http://user:{quote(SECRETS['the https proxy password'], safe='')}@127.0.0.1:{proxy}",
    }  # fmt: skip


def found(left: Path, secrets: Iterable[str] = NAMES) -> list[str]:
    """Return where secrets stand in what a command left: file, name of the secret, and what stands around it."""
    places = []
    for path in sorted(path for path in left.rglob("*") if path.is_file()):
        text = path.read_bytes()
        for name in secrets:
            for form in forms(SECRETS[name]):
                at = text.find(form)
                if at >= 0:
                    places.append(f"{path.relative_to(left)}: {name}: {text[max(0, at - 80) : at + 60]!r}")
    return places
