"""Run EasyDistill as a child process: an argument list, never a shell, its whole output in a log file."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

QUIET = {
    "PYTHONUNBUFFERED": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_DISABLED": "true",
    "PYTHON_DOTENV_DISABLED": "1",
}
"""Lines as they are written, nothing fetched or reported to anybody, and no .env read that nobody named."""

_PATIENCE = 10.0  # seconds that a child gets to end before it is killed


def run(argv: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str], on_line: Callable[[str], None]) -> int:
    """Run a command to its end, append its output to `log`, hand each line to `on_line`, and return its exit code.

    Progress bars that only move the cursor count as lines. Whatever ends the wait early, an exception of `on_line` or
    Ctrl-C, ends the child and its children first. Raises OSError where the command cannot be started.
    """
    process = subprocess.Popen(
        list(argv),
        cwd=folder,
        env={**os.environ, **QUIET, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # its children are ended with it
    )
    try:
        with log.open("a", encoding="utf-8") as file:
            for line in process.stdout or ():
                file.write(line)
                file.flush()
                on_line(line.rstrip("\n"))
        return process.wait()
    finally:
        _end(process)


def why(code: int) -> str:
    """Return how a process ended, in words, from its exit code as `run` gives it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and all it started."""
    if process.stdout:
        process.stdout.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
