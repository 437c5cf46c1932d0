"""A command on another machine that is spoken with, a line at a time, while it runs."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Self

from pillm.errors import PillmError, Unavailable
from pillm.remote.connection import SSH_FAILED, end
from pillm.remote.endings import OUT_OF_MEMORY, failure
from pillm.remote.guard import guarded

if TYPE_CHECKING:
    from pillm.remote.machine import Remote

_LAST_WORDS = 20.0


class Conversation:
    """A command that reads lines and answers each with one; a context manager, whose end is the end of what it reads.

    What the command does when its input ends is its own affair: that is how it learns that this side is gone. One that reads
    nothing is `held`: it is ended there when this side is gone, its whole group. `needs` is the memory that it is known to
    need, in bytes.
    """

    def __init__(self, remote: Remote, what: str, argv: Sequence[str], *, held: bool = False, needs: int | None = None) -> None:
        remote.connect()
        self._remote, self._what, self._needs = remote, what, needs
        self._process = subprocess.Popen(
            remote.connection.command(guarded(argv, fed=not held)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._said: list[bytes] = []
        readers = ((self._process.stdout, self._hear), (self._process.stderr, self._note))
        self._threads = [threading.Thread(target=read, args=(pipe,), daemon=True) for pipe, read in readers]
        for thread in self._threads:
            thread.start()

    def ask(self, word: str, *, timeout: float) -> str:
        """Say a line and return the next one that comes back, within `timeout` seconds; raises what `hear` raises."""
        pipe = self._process.stdin
        if pipe is not None:
            with suppress(OSError):  # it is gone: `hear` says how it ended
                pipe.write(f"{word}\n".encode())
                pipe.flush()
        return self.hear(timeout=timeout)

    def hear(self, *, timeout: float) -> str:
        """Return the next line; raise Unavailable where the connection broke or none came in time, BackendError at its end."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty as error:
            raise Unavailable(f"{self._remote.host}: {self._what} said nothing for {timeout:.0f} s.") from error
        if line is None:
            raise self._ended()
        return line

    def ended(self, within: float = 0.0) -> PillmError | None:
        """Return how the command ended, or None where it still runs after so many seconds."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None
        return self._ended()

    def _ended(self) -> PillmError:
        code = self._process.wait()
        for thread in self._threads:
            thread.join(5)
        said = b"".join(self._said).decode("utf-8", "replace")
        if code in (SSH_FAILED, -9, -15):
            return Unavailable(
                f"{self._remote.host}: the connection broke during {self._what} ({said.strip()[-200:] or 'cut'})."
            )
        has = self._remote.memory() if code == OUT_OF_MEMORY else None
        return failure(self._remote.host, self._what, code, said, (self._needs, has))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End what the command reads, and wait for its last words."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_WORDS)
        self._process.kill()
        for thread in self._threads:
            thread.join(5)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()
        self._process.stdin = self._process.stdout = self._process.stderr = None
        end(self._process)

    def _hear(self, pipe: IO[bytes]) -> None:
        with suppress(ValueError):
            for line in pipe:
                self._lines.put(line.decode("utf-8", "replace").rstrip("\n"))
        self._lines.put(None)

    def _note(self, pipe: IO[bytes]) -> None:
        with suppress(ValueError):
            self._said += pipe
