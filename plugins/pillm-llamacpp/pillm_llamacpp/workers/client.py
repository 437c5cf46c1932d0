"""pillm's side of the worker process: llama.cpp may abort, pillm may not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, NoReturn, Self

import pillm
from pillm_llamacpp.workers import pipe

if TYPE_CHECKING:
    from types import TracebackType

    from pillm_llamacpp.workers.pipe import Packet

CLOSE_SECONDS = 5.0
HUGE_PAGES = "glibc.malloc.hugetlb=1"
_ERRORS: dict[str, type[pillm.PillmError]] = {
    "backend": pillm.BackendError,
    "config": pillm.ConfigError,
    "data": pillm.DataError,
    "missing": pillm.MissingDependency,
    "storage": pillm.StorageError,
    "unsafe": pillm.UnsafeError,
}
_SIGNALS = {
    signal.SIGABRT: "llama.cpp aborted: one of its own checks failed",
    signal.SIGSEGV: "llama.cpp crashed",
    signal.SIGBUS: "llama.cpp crashed: the model file changed or became unreadable while it was in use",
    signal.SIGILL: "llama.cpp was built for another CPU",
    signal.SIGFPE: "llama.cpp crashed",
    signal.SIGKILL: "the process was killed, most often because memory ran out",
    signal.SIGTERM: "the process was told to stop",
}


def error_of(kind: str, message: str) -> pillm.PillmError:
    """Return the error for a kind and message that a child process sent."""
    return _ERRORS.get(kind, pillm.BackendError)(message)


def death(code: int) -> str:
    """Return why a process ended, in words, from its return code as `subprocess` gives it."""
    if code >= 0:
        return f"the process ended with status {code}"
    try:
        number = signal.Signals(-code)
    except ValueError:
        return f"the process was ended by signal {-code}"
    return f"{_SIGNALS.get(number, 'the process was ended')} ({number.name})"


def _surroundings(*, huge_pages: bool) -> dict[str, str]:
    """Return what llama.cpp's process finds in its environment."""
    # gdb would be started for a backtrace otherwise
    found = {"GGML_NO_BACKTRACE": "1", "PYTHONUTF8": "1"}
    if huge_pages:  # large blocks of memory, such as weights; the many small ones of a grammar come slower then
        found["GLIBC_TUNABLES"] = ":".join(filter(None, (HUGE_PAGES, os.environ.get("GLIBC_TUNABLES"))))
    return found


class WorkerDied(pillm.BackendError):
    """The process that held llama.cpp has ended, by itself or because it was killed."""

    def __init__(self, why: str, tail: str, *, killed: bool) -> None:
        super().__init__(why + tail)
        self.why, self.tail = why, tail
        self.killed = killed
        """Whether it was ended from outside, by a person or for want of memory: nothing that a row is to blame for."""

    def with_advice(self, advice: str) -> str:
        """Return the message with more to say, before what the process said last."""
        return f"{self.why} {advice}{self.tail}"


class Worker:
    """A process that holds llama.cpp; its death is a BackendError, and it ends when this process does."""

    def __init__(self, what: str, *, graphics: str = "", huge_pages: bool = False) -> None:
        """Start the process; `what` names the work in error messages.

        `graphics` are the numbers of the Vulkan devices that llama.cpp may see there: without, none of the work is theirs.
        With `huge_pages` large blocks of its memory are of huge pages, where the system has them.
        """
        self.what = what
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pillm_llamacpp.process.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **_surroundings(huge_pages=huge_pages), "GGML_VK_VISIBLE_DEVICES": graphics},
            # Ctrl-C is for pillm, which ends the worker in order
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        return self._process.pid

    def send(self, message: Packet) -> None:
        """Send one message."""
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            raise pillm.BackendError(f"{self.what}: the session is closed.")
        try:
            pipe.write(stdin, message)
        except (BrokenPipeError, ConnectionError):
            self._dead()

    def receive(self) -> Packet:
        """Return the next message; raise the error that it carries, or BackendError where the process died."""
        stdout = self._process.stdout
        if stdout is None or stdout.closed:
            raise pillm.BackendError(f"{self.what}: the session is closed.")
        message = pipe.read(stdout)
        if message is None:
            self._dead()
        if "error" in message:
            raise error_of(message["error"], f"{self.what}: {message['message']}")
        return message

    def ask(self, **message: object) -> Packet:
        """Send one message and return the reply."""
        self.send(message)
        return self.receive()

    def _dead(self) -> NoReturn:
        # its pipes close before it is gone; how it ended is for it to say, not for a signal from here
        try:
            code = self._process.wait(CLOSE_SECONDS)
            why, killed = death(code), -code in (signal.SIGKILL, signal.SIGTERM)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            why, killed = "the process closed its output, stayed, and was ended by pillm", False
        tail = self._tail()
        self.close()
        raise WorkerDied(f"{self.what}: {why}. pillm itself and its files are safe.", tail, killed=killed)

    def _tail(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 4000))
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()[-8:]
        return "\nIt last said:\n" + "\n".join(lines) if lines else ""

    def close(self) -> None:
        """End the process; calling it twice is harmless."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is not None and not stdin.closed:
            with contextlib.suppress(OSError):
                stdin.close()  # the worker leaves at the end of its input
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if stdout is not None:
            stdout.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
