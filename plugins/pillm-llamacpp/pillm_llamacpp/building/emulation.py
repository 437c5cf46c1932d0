"""Programs of another processor, run here: qemu plays it, down to the instructions that it lacks."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.building.toolchain import require_tools
from pillm_llamacpp.workers.client import death

if TYPE_CHECKING:
    from collections.abc import Sequence

QEMU = "qemu-aarch64-static"
_SHELL_SIGNAL = 128
_NO_SUCH_CPU = "unable to find CPU model"


@dataclass(frozen=True, slots=True)
class Emulator:
    """A 64-bit Arm processor played by qemu, such as `cortex-a72`, the Raspberry Pi 4's; for correctness, never for speed."""

    cpu: str

    def check(self) -> None:
        """Raise MissingDependency where qemu is not installed."""
        require_tools([QEMU], f"running programs as on a {self.cpu}")

    def run(self, argv: Sequence[str | Path], *, timeout: float) -> str:
        """Run a program and return its output.

        Raises Unavailable where it takes longer than `timeout` seconds, BackendError where it fails, with the reason.
        """
        self.check()
        program = Path(argv[0]).name
        try:
            done = subprocess.run(
                [QEMU, "-cpu", self.cpu, *map(str, argv)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                check=False,
                env={**os.environ, "GGML_NO_BACKTRACE": "1"},
            )
        except subprocess.TimeoutExpired as error:
            raise pillm.Unavailable(
                f"{program} did not end within {timeout:.0f} s under qemu, which is many times slower than a real {self.cpu}."
            ) from error
        if done.returncode:
            tail = " ".join(done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]) or "it said nothing"
            raise pillm.BackendError(
                f"{program} on a {self.cpu} under qemu: {_why(done.returncode, tail)}. It last said: {tail}"
            )
        return done.stdout.decode("utf-8", "replace")


def _why(code: int, tail: str) -> str:
    """Return why a program ended; qemu dies of the signal that its guest died of, a shell in between adds 128."""
    if _NO_SUCH_CPU in tail:
        return "this qemu is too old to play that processor"
    return death(_SHELL_SIGNAL - code if code > _SHELL_SIGNAL else code)
