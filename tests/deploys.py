"""Deploy over and over, break it at every step, and ask the board every 50 ms meanwhile; run by `test_deployment_*.py`.

`python -m tests.deploys kill|cut [--steps A-B] [--server PATH --old A.gguf --new B.gguf]` prints its counts as one JSON object.
Deployments run in children of their own, which can be killed as a person's machine can die; the board is a real sshd.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pillm.artifacts import ModelFile
from pillm.contract import Contract
from pillm.deployment.bundle import Bundle
from pillm.deployment.deploying import deploy
from pillm.deployment.place import Service
from pillm.deployment.smoke import SmokeTest
from pillm.testing import LoopbackBoard
from pillm.testing.standin import write_stand_in, write_stand_in_model

EVERY = 0.05
HELLO = ({"role": "user", "content": "hello"},)
WORDS = ("look", "commit", "finish")
"""What a trial is told, in order; pillm is also killed before and after each."""
_CHILD = """
import os, pathlib, signal, sys
from pillm.remote import Remote
from pillm.remote.conversation import Conversation
from tests.deploys import bundle, run_service
ask = Conversation.ask
def dying(self, word, *, timeout):
    if where == f"before {word}":
        os.kill(os.getpid(), signal.SIGKILL)
    if where == f"during {word}":
        timeout = 0.0
        try:
            return ask(self, word, timeout=timeout)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    said = ask(self, word, timeout=timeout)
    if where == f"after {word}":
        os.kill(os.getpid(), signal.SIGKILL)
    return said
config, pid_file, where, model, expected, server, port = sys.argv[1:]
Conversation.ask = dying
pathlib.Path(pid_file).write_text(str(os.getpid()))
with Remote("board", ssh_config=pathlib.Path(config)) as remote:
    run_service(bundle(pathlib.Path(model), expected), remote, server, int(port))
"""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def bundle(model: Path, expected: str | None) -> Bundle:
    """Return the bundle of a model file that answers a greeting with `expected`."""
    smoke = SmokeTest(messages=HELLO, expected=expected, tokens=16)
    return Bundle(model=ModelFile.of(model, "Q8_0"), contract=Contract(), smoke=(smoke,))


def run_service(what: Bundle, remote: Any, server: str, port: int) -> Any:
    """Deploy a bundle with the server and the port of a test."""
    return deploy(what, remote, Service(port=port, server=server, wait=30, context=256, threads=1))


@dataclass
class Answers:
    """What a board answered, asked every 50 ms from a thread of its own."""

    port: int
    body: dict[str, Any] = field(default_factory=lambda: {"messages": list(HELLO), "max_tokens": 16, "temperature": 0})
    said: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    slowest: float = 0.0

    @contextmanager
    def asked(self) -> Iterator[Answers]:
        """Ask as long as the context lasts."""
        over = threading.Event()
        thread = threading.Thread(target=self._ask_on, args=(over,))
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()

    def once(self) -> str:
        """Ask once and return the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(self.body), {"Content-Type": "application/json"})
            return str(json.loads(connection.getresponse().read())["choices"][0]["message"]["content"])
        finally:
            connection.close()

    def _ask_on(self, over: threading.Event) -> None:
        while not over.wait(EVERY):
            began = time.monotonic()
            try:
                self.said.append(self.once())
            except (OSError, http.client.HTTPException, LookupError, ValueError) as error:
                self.errors.append(f"{type(error).__name__}: {error}")
            self.slowest = max(self.slowest, time.monotonic() - began)


@dataclass
class Field:
    """A board with a server program and two models, the old one deployed."""

    board: LoopbackBoard
    server: str
    old: Path
    new: Path
    answers: tuple[str, str]
    port: int = field(default_factory=free_port)

    def deploy(self, which: int, **options: Any) -> Any:
        """Deploy the old model (0) or the new one (1) from this process."""
        with self.board.remote(**options) as remote:
            return run_service(bundle((self.old, self.new)[which], self.answers[which]), remote, self.server, self.port)

    def child(self, where: str = "nowhere") -> int:
        """Deploy the new model from a process of its own, which dies by itself at `where`; return how it ended."""
        words = [self.board.ssh_config, self.pid_file, where, self.new, self.answers[1], self.server, self.port]
        process = subprocess.run([sys.executable, "-c", _CHILD, *map(str, words)], capture_output=True, text=True, check=False)
        return process.returncode

    @property
    def pid_file(self) -> Path:
        """Return the file that a child writes its pid to."""
        return self.board.folder / "child"

    def break_at(self, number: int, how: str) -> None:
        """Kill pillm, or cut its connection, when the board is about to run its command of that number from now on."""
        doing = {"kill": f'kill -9 "$(cat {self.pid_file})"; sleep 0.05', "cut": 'kill -9 "$PPID"; sleep 0.05'}[how]
        first = len(self.board.commands)
        self.board.hook(f'[ "$1" = {first + number} ] && {{ {doing}; }}\n')

    def forget(self) -> None:
        """Remove from the board what is not the release that answers, so that the next deployment has all to do."""
        root = self.board.home / ".local" / "share" / "pillm" / "served" / "default"
        kept = (root / "current").resolve()
        (root / "previous").unlink(missing_ok=True)
        for path in (root / "releases").iterdir():
            if path != kept:
                shutil.rmtree(path)
        for path in (root / "files").iterdir():
            if path != (kept / "model.gguf").resolve():
                path.unlink()

    def strays(self) -> list[str]:
        """Return what runs on the board beside one keeper, its front and one server, once that has settled."""
        found: list[str] = []
        for _ in range(60):
            found = []
            for pid in self.board.processes():
                try:
                    found.append(Path(f"/proc/{pid}/cmdline").read_text("utf-8").replace("\0", " "))
                except OSError:
                    continue
            servers = [line for line in found if "--model" in line]
            others = [line for line in found if not re.search(r"serve\.sh serve|systemd-socket|--model|^sleep ", line) and line]
            if len(servers) <= 1 and not others:
                return []
            time.sleep(0.1)
        return found


@contextmanager
def a_field(server: str | None = None, old: Path | None = None, new: Path | None = None) -> Iterator[Field]:
    """Give a board where the old model answers: stand-ins, unless a real server and files are named."""
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        root = Path(folder)
        with LoopbackBoard(root / "b") as board:
            program = server or str(write_stand_in(root / "llama-server"))
            files = (
                old or write_stand_in_model(root / "old.gguf", "old"),
                new or write_stand_in_model(root / "new.gguf", "new"),
            )
            said = ("old", "new") if old is None else ("", "")
            found = Field(board=board, server=program, old=files[0], new=files[1], answers=said)
            if old is not None:  # what the real ones answer is learnt from them
                found.answers = tuple(_learn(found, which) for which in (0, 1))  # type: ignore[assignment]
            found.deploy(0)
            yield found


def _learn(place: Field, which: int) -> str:
    model = (place.old, place.new)[which]
    with place.board.remote() as remote:
        run_service(bundle(model, None), remote, place.server, place.port)
    return Answers(place.port).once()


@dataclass
class Count:
    """What came of breaking deployments at every step."""

    broken: int = 0
    asked: int = 0
    refused: int = 0
    wrong: int = 0
    strays: int = 0
    unfinished: int = 0
    slowest_ms: float = 0.0
    commands: int = 0


def break_everywhere(place: Field, how: str, steps: range | None = None, words: bool = True) -> Count:
    """Break a deployment at every command it runs and, killed, around every word; each time finish it, and go back."""
    count = Count()
    if steps is None:
        place.forget()
        before = len(place.board.commands)
        place.child()
        count.commands = len(place.board.commands) - before
        place.deploy(0)
    points: list[int | str] = list(steps or range(1, count.commands + 1))
    if how == "kill" and words:
        points += [f"{when} {word}" for word in WORDS for when in ("before", "during", "after")]
    for point in points:
        _break(place, how, point, count)
    return count


def _break(place: Field, how: str, point: int | str, count: Count) -> None:
    place.forget()
    answers, late = Answers(place.port), str(point).endswith("finish") or point in ("during commit", "after commit")
    with answers.asked():
        if isinstance(point, int):
            place.break_at(point, how)
        ended = place.child("nowhere" if isinstance(point, int) else point)
        place.board.healthy()
        count.strays += len(place.strays())
    count.broken += ended != 0
    allowed = {place.answers[0], place.answers[1]} if late or ended == 0 else {place.answers[0]}
    count.wrong += sum(said not in allowed for said in answers.said)
    with answers.asked():
        place.deploy(1)
        count.unfinished += answers.once() != place.answers[1]
        place.deploy(0)
    count.asked += len(answers.said)
    count.refused += len(answers.errors)
    count.wrong += sum(said not in place.answers for said in answers.said)
    count.slowest_ms = round(max(count.slowest_ms, 1000 * answers.slowest), 1)
    if answers.errors:
        print(f"{how} at {point}: {answers.errors[:3]}", file=sys.stderr)


def main() -> None:
    """Print the counts as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("how", choices=("kill", "cut"))
    parser.add_argument("--server")
    parser.add_argument("--old", type=Path)
    parser.add_argument("--new", type=Path)
    parser.add_argument("--steps", help="only these commands of a deployment, as in 3-9")
    asked = parser.parse_args()
    first, _, last = (asked.steps or "").partition("-")
    steps = range(int(first), int(last or first) + 1) if first else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with a_field(asked.server, asked.old, asked.new) as place:
        began = time.monotonic()
        count = break_everywhere(place, asked.how, steps)
        print(
            json.dumps(
                {"how": asked.how, **asdict(count), "seconds": round(time.monotonic() - began, 1), "cpus": os.cpu_count()}
            )
        )


if __name__ == "__main__":
    main()
