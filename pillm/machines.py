"""A machine that files are read from and commands are run on: this one, or one that is reached over a network."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pillm.errors import BackendError, MissingDependency, Unavailable

_MAX_TEXT = 1 << 20


class Machine(Protocol):
    """What probing, sensors and benchmarks ask of a machine; `label` names it in messages."""

    @property
    def label(self) -> str:
        """Return what messages call it."""

    def read(self, path: str) -> str | None:
        """Return the text of a small file, such as one of /proc and /sys, or None where it is not there."""

    def run(self, argv: Sequence[str], *, timeout: float = 60.0) -> str:
        """Run a command and return its output.

        Raises MissingDependency where the command is not there, Unavailable where the machine cannot be reached or time (in
        seconds) runs out, BackendError where the command fails.
        """


@dataclass(frozen=True, slots=True)
class LocalMachine:
    """This machine; `root` is put before every path that is read, for recorded machines."""

    label: str = "this machine"
    root: Path = Path("/")

    def read(self, path: str) -> str | None:
        """Return the text of a small file, or None where it cannot be read."""
        try:
            with (self.root / path.lstrip("/")).open("rb") as file:
                return file.read(_MAX_TEXT).decode("utf-8", "replace")
        except OSError:
            return None

    def run(self, argv: Sequence[str], *, timeout: float = 60.0) -> str:
        """Run a command here and return its output; see Machine for what it raises."""
        if shutil.which(argv[0]) is None:
            raise MissingDependency(f"the command {argv[0]} is not installed on {self.label}.")
        try:
            done = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{self.label}: {argv[0]} took longer than {timeout:.0f} s.") from error
        if done.returncode:
            tail = " ".join(done.stderr.strip().splitlines()[-3:]) or "it said nothing"
            raise BackendError(f"{self.label}: {argv[0]} failed with status {done.returncode}. It last said: {tail}")
        return done.stdout
