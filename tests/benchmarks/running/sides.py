"""A model file run by pillm's runner `local` and by llama.cpp's own programs of the same source, with the same settings."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pillm_llamacpp.building import tools

import pillm

THREADS = os.cpu_count() or 1
WORDS = "Turn on the lamp in the kitchen, then read me the first line of my notes and tell me when the next train leaves. "


def request(text: str, number: int = 0, *, system: str | None = None, **prompt: Any) -> pillm.Request:
    """Return one question."""
    said = ({"role": "system", "content": system},) if system else ()
    messages = (*said, {"role": "user", "content": text})
    return pillm.Request(
        key=f"{number}-{text[:40]}", prompt=pillm.Prompt(id=f"r{number}", messages=messages, **prompt), messages=messages
    )


def asked(session: pillm.Session, one: pillm.Request) -> pillm.Answer:
    """Return the answer to one question; raise where there is none."""
    ((_, result),) = session.answer(iter([one]))
    if isinstance(result, pillm.Failure):
        raise pillm.BackendError(f"the runner did not answer: {result.message}")
    return result


@contextlib.contextmanager
def opened(file: Path, **options: Any) -> Iterator[pillm.Session]:
    """Give a session of the runner `local` that answers one question at a time."""
    told = {"threads": THREADS, "parallel": 1, "context": 1024, **options}
    with pillm.runner("local", **told).open(pillm.ModelFile.of(file, "")) as session:
        yield session


@lru_cache(maxsize=1)
def repacks() -> bool:
    """Say whether pillm lets llama.cpp lay weights out anew: not where it was built with matrix tiles that do not work."""
    code = "from pillm_llamacpp.inference.processor import built_with_tiles; print(built_with_tiles())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip() == "False"


def exactly(session: pillm.Session, words: str, tokens: int) -> str:
    """Return a question of those words whose prompt, template included, has exactly that many tokens."""
    text, low = words, 0
    while prompt_tokens(session, text) < tokens:
        low, text = len(text), text + words
    cut = next((end for end in range(low, len(text)) if prompt_tokens(session, text[:end]) >= tokens), len(text))
    while (found := prompt_tokens(session, text[:cut])) != tokens:
        if found < tokens:
            raise RuntimeError(f"no cut of the words gives {tokens} tokens")
        cut -= 1
    return text[:cut]


def prompt_tokens(session: pillm.Session, text: str) -> int:
    """Return how many tokens the prompt of a question has; nothing is decoded for it."""
    row = {"messages": [{"role": "user", "content": text}], "ask": True}
    (found,) = session._worker.ask(op="encode", rows=[row])["rows"]  # type: ignore[attr-defined]
    return len(found["ids"])


def bench(file: Path, *, pp: int = 0, tg: int = 0, depth: int = 0, huge_pages: bool = False) -> float:
    """Return llama-bench's tokens per second for one measurement, after its own warm-up.

    It works behind `depth` tokens. It maps the file; with `huge_pages` it holds the weights as runner `local` does.
    """
    options = {"-p": pp, "-n": tg, "-d": depth, "-r": 1, "-t": THREADS, "--repack": int(repacks()), "-o": "json"}
    options |= {"--load-mode": "none"} if huge_pages else {}
    words = [str(word) for pair in options.items() for word in pair]
    environment = {**os.environ, **({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} if huge_pages else {})}
    command = [str(tools.tool("llama-bench")), "-m", str(file), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    (row,) = json.loads(done.stdout)
    return float(row["samples_ts"][0])


def check_tokens(file: Path, count: int = 48) -> int:
    """Return how many greedy tokens pillm and llama-server agree on; raise where one differs."""
    one = request("Set a timer for ten minutes.")
    with opened(file, max_tokens=count) as session:
        mine = list(asked(session, one).token_ids or ())
    with _server(file) as url:
        prompt = _post(f"{url}/apply-template", {"messages": list(one.messages)})["prompt"]
        told = {"prompt": prompt, "n_predict": count, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        theirs = _post(f"{url}/completion", told)["tokens"]
    # llama-server leaves the token out that ends the turn
    if mine[: len(theirs)] != theirs or len(mine) - len(theirs) > 1:
        raise RuntimeError(f"{file.name}: pillm answered {mine}, llama-server {theirs}")
    return len(theirs)


@contextlib.contextmanager
def _server(file: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-c", "1024", "-np", "1", "-t", str(THREADS), "--no-ui", "--host", "127.0.0.1", "--port", str(port)]
    options += [] if repacks() else ["--no-repack"]
    command = [str(tools.tool("llama-server")), "-m", str(file), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(f"{url}/health", process)
            yield url
        finally:
            process.terminate()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"llama-server ended with status {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as reply:
            if reply.status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError("llama-server did not get ready within a minute")


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    told = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(told, timeout=120) as reply:
        found: dict[str, Any] = json.load(reply)
    return found


def versions() -> dict[str, str]:
    """Return the versions that the figures depend on."""
    return {"llama-cpp-python": version("llama-cpp-python")}


def settings() -> dict[str, Any]:
    """Return what both sides were told alike."""
    return {"threads": THREADS, "weights laid out anew": repacks(), "flash attention": "auto"}
