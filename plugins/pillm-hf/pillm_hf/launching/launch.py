"""Start a training's processes, hand on what they report, and end them all with this one, however it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.launching import command, messages, task
from pillm_hf.options.launcher import require_deepspeed, require_gpus
from pillm_hf.training.trainlog import Log

if TYPE_CHECKING:
    from pillm_hf.training.fitting import Work

FOLDER = ".launch"
_OUTPUT = "output.log"
_PATIENCE = 10.0  # seconds that the processes get to end before they are killed
_POLL = 0.1  # seconds
_LINES = 12
_CAUSE = re.compile(r"Root Cause.*?rank\s*: (?P<rank>\d+).*?exitcode\s*: (?P<code>-?\d+)", re.DOTALL)


def launch(work: Work, data: pillm.TrainingData, progress: pillm.Progress) -> tuple[Log, dict[str, Any]]:
    """Let the options' processes fit the work; what they leave on disk is what one process would leave.

    Raises the error of a process as it was, and BackendError where one ended without giving any.
    """
    launcher = work.options.launcher
    if launcher is None:
        raise ValueError("there is no launcher")
    require_deepspeed(launcher)
    require_gpus(launcher, work.options.device_map)
    folder = (work.out / FOLDER).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    task.write(work, data, folder)
    command.write(work.options, folder)
    relay = messages.Relay(folder, progress)
    with _started(command.argv(launcher, folder), command.environment(launcher), folder) as process:
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL)
            relay.catch_up()
    relay.catch_up()
    result = messages.read_result(folder)
    if process.returncode or result is None:
        raise messages.read_error(folder) or _ended(folder, process.returncode)
    shutil.rmtree(folder, ignore_errors=True)
    return Log.from_json(result["log"]), result["facts"]


@contextmanager
def _started(argv: list[str], environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the processes, and end them all with the context.

    Their standard input is a pipe that nobody writes to: it closes when this process ends, even if it was killed, and then
    they end themselves (see `child`). So none is left behind that writes where the next attempt works.
    """
    with (folder / _OUTPUT).open("wb") as output:
        process = subprocess.Popen(
            argv,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends them
        )
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_PATIENCE)


def _ended(folder: Path, code: int) -> pillm.BackendError:
    """Return the error for processes that ended and gave no reason of their own."""
    text = (folder / _OUTPUT).read_text("utf-8", "replace")
    cause = _CAUSE.search(text)  # torch's launcher says which one was the first
    number = int(cause["code"]) if cause else code
    how = f"was ended by {_signal(-number)}" if number < 0 else f"ended with exit code {number}"
    if number == -signal.SIGKILL:
        how += ", as the system does where memory runs out,"
    who = f"process {cause['rank']} of the training" if cause else "the training's processes"
    own = [line for line in text.splitlines() if cause and line.startswith(f"[rank{cause['rank']}]:")]
    lines = own or [line for line in text.splitlines() if line.strip(" =-")]
    last = "\n".join(lines[-_LINES:])
    return pillm.BackendError(
        f"{who} {how} and the others were ended with it. What was saved before is kept: the same command goes on from there. "
        f"All they wrote is in {folder / _OUTPUT}; its last lines:\n{last}"
    )


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
