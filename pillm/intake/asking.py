"""Ask the limited child, and tell what became of it: an answer, or a reason to refuse what it looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from pillm.errors import BackendError
from pillm.intake.faults import Fault

CHILD: Final = Path(__file__).with_name("child.py")
SECONDS: Final = 2.0
MEGABYTES: Final = 256
WALL_SECONDS: Final = 30.0
"""After which a child is given up that neither computes nor answers, as on a network drive that is gone."""
_PER_SECOND: Final = 4 * 1024 * 1024
"""Bytes for which there is a second more: a Raspberry Pi takes so long for a vocabulary."""


class Size(NamedTuple):
    """How many bytes of one path may have to be read, and how many of them are JSON, which takes several times its size."""

    read: int = 0
    json: int = 0


def look(paths: Sequence[Path], size: Size, *, folders: bool = False) -> list[dict[str, Any]]:
    """Return what the child found at each path, in their order; none of them is larger than `size`."""
    found: list[dict[str, Any]] = []
    kind = "folders" if folders else "files"
    seconds, megabytes = SECONDS + size.read / _PER_SECOND, MEGABYTES + 16 * size.json // 2**20
    while True:
        task = {kind: [str(path) for path in paths[len(found) :]]}
        said, ended = _ask(task, [f"{seconds:.1f}", str(megabytes)], seconds * (len(paths) - len(found)))
        found += said
        if len(found) < len(paths):  # it ended at the next of them; those after it are asked again
            found.append({"fault": Fault(_ending(ended, seconds)).to_json()})
        if len(found) >= len(paths):
            return found


def try_template(source: str, specials: dict[str, str], *, seconds: float, megabytes: int) -> Fault | None:
    """Return why a template is not to be rendered, or None."""
    said, ended = _ask({"template": source, "specials": specials}, [str(seconds), str(megabytes), *_jinja()], seconds)
    if not said:
        return Fault(f"the chat template did not get done: {_ending(ended, seconds)}")
    return Fault.from_json(said[0]["fault"]) if "fault" in said[0] else None


def _ask(task: dict[str, Any], words: list[str], seconds: float) -> tuple[list[dict[str, Any]], int]:
    """Return the lines that a child answered, and how it ended."""
    command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(CHILD), *words]
    try:
        done = subprocess.run(
            command, input=json.dumps(task).encode(), capture_output=True, env=_environment(), timeout=WALL_SECONDS + seconds,
            check=False,
        )  # fmt: skip
        out, code, err = done.stdout, done.returncode, done.stderr
    except subprocess.TimeoutExpired as error:
        out, code, err = error.stdout or b"", -signal.SIGALRM, b""
    except OSError as error:
        raise BackendError(
            f"no process could be started to check a file before it is opened ({error.strerror}). Nothing was opened. "
            "Free some memory and run the same command again."
        ) from error
    said = [json.loads(line) for line in out.split(b"\n")[:-1]]  # a last line without an end was cut off
    if code > 0:
        last = (err.decode("utf-8", "replace").strip().splitlines() or [f"status {code}"])[-1]
        raise BackendError(f"the process that checks files before they are opened failed: {last[:300]}. Nothing was opened.")
    return said, code


def _environment() -> dict[str, str]:
    """Return what Python itself may need to start, and nothing else of the environment."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}


def _ending(code: int, seconds: float) -> str:
    """Return why a child ended without an answer, in words."""
    if code in (-signal.SIGPROF, -signal.SIGXCPU):
        return f"it takes more than {seconds:.1f} s of computing"
    if code == -signal.SIGALRM:
        return "nothing came of reading it for half a minute"
    if code == -signal.SIGKILL:
        return "the process that looked at it was killed, most often because memory ran out"
    return f"the process that looked at it was ended by signal {-code}" if code else "the process that looked at it fell silent"


@cache
def _jinja() -> tuple[str, ...]:
    """Return the folders that Jinja and what it needs are found in; nothing is imported here."""
    from importlib.util import find_spec

    found = (find_spec(name) for name in ("jinja2", "markupsafe"))
    places = [os.path.dirname(os.path.dirname(spec.origin)) for spec in found if spec and spec.origin]  # noqa: PTH120
    return tuple(dict.fromkeys(places))
