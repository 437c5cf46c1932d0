"""What the benchmarks of the API teacher share: the server, what is asked of it, pillm's own run and those of peers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pillm
from tests.benchmarks.loopback.peers import python_of

HERE = Path(__file__).parent
os.environ.setdefault("OPENAI_API_KEY", "none")


def question(number: int) -> str:
    """Return what is asked in one row."""
    return f"Row {number}: when does the train to Québec leave, and from which platform?"


@contextmanager
def server(latency: str, *, refused: float = 0.0) -> Iterator[str]:
    """Run the server and yield its base URL."""
    command = [sys.executable, str(HERE / "server.py"), latency, str(refused)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if not process.stdout or not process.stdin:
            raise RuntimeError("the server has no pipes")
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.stdin.close()


def counts(url: str) -> dict[str, int]:
    """Return what came to the server since it was last asked: calls, answered, most in flight."""
    with urllib.request.urlopen(url, timeout=10) as response:
        found: dict[str, int] = json.load(response)
    return found


def label_per_second(url: str, rows: int, concurrency: int) -> float:
    """Label with pillm, from rows to published files, and check that each row was answered by one call."""
    prompts = [pillm.Prompt(id=str(n), messages=({"role": "user", "content": question(n)},)) for n in range(rows)]
    teacher = pillm.teacher("openai", model="loopback", base_url=url, concurrency=concurrency)
    counts(url)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        labelled = pillm.label(prompts, teacher, Path(folder) / "label")
        seconds = time.perf_counter() - began
        check(url, rows, labelled.counts.answered)
    return rows / seconds


def bare_per_second(url: str, rows: int, concurrency: int) -> float:
    """Ask the same with a bare loop over the same SDK and transport; nothing is stored."""

    async def ask() -> int:
        from openai import AsyncOpenAI, DefaultAioHttpClient

        numbers, answered = iter(range(rows)), 0
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=DefaultAioHttpClient()) as client:

            async def work() -> None:
                nonlocal answered
                for number in numbers:
                    message = {"role": "user", "content": question(number)}
                    made = await client.chat.completions.create(model="loopback", messages=[message], temperature=0.0)  # type: ignore[list-item]
                    answered += bool(made.choices[0].message.content)

            await asyncio.gather(*(work() for _ in range(concurrency)))
        return answered

    counts(url)
    began = time.perf_counter()
    answered = asyncio.run(ask())
    seconds = time.perf_counter() - began
    check(url, rows, answered)
    return rows / seconds


def peer_per_second(peer: str, url: str, rows: int, concurrency: int) -> float:
    """Label with a peer in its own environment; its script times the run itself, without its imports."""
    counts(url)
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python_of(peer)), str(HERE / f"{peer}_run.py"), url, str(rows), str(concurrency)]
        home = {"HOME": folder, "HF_HOME": folder, "CURATOR_CACHE_DIR": folder, "XDG_CACHE_HOME": folder}
        quiet = {"HF_HUB_OFFLINE": "1", "TELEMETRY_ENABLED": "0", "CURATOR_VIEWER": "0", "OPENAI_API_KEY": "none"}
        environment = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", **home, **quiet}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{peer} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    check(url, rows, told["answered"])
    return rows / float(told["seconds"])


def check(url: str, rows: int, answered: int) -> None:
    """Raise where a row has no answer or the server did not answer that many."""
    came = counts(url)
    if answered != rows or not rows <= came["answered"] <= rows + 2:  # curator asks once more to see the headers
        raise AssertionError(f"{answered} of {rows} rows were answered; the server says {came}")
