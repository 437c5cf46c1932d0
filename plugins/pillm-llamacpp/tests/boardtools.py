"""What the tests of boards share: the programs that were built for a Raspberry Pi 4, and what it takes to run them here."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from pillm_llamacpp.building.built import Built, command, kept_folder
from pillm_llamacpp.building.emulation import QEMU
from pillm_llamacpp.building.targets import TARGETS

CROSS = "aarch64-linux-gnu-gcc"
ROOT = Path(__file__).parents[3]
RPI4 = ROOT / "rpi4"


def need(*tools: str) -> None:
    """Skip the test where a tool of the system is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def program(name: str) -> Path:
    """Return a program that was built for the Pi 4; skip the test where it was not, or cannot be run."""
    need(QEMU)
    built = Built(TARGETS["pi4"], kept_folder(TARGETS["pi4"]))
    if built.lacking((name,)):
        pytest.skip(f"not built: {name} for the Raspberry Pi 4 ({command(built.target)})")
    return built.path(name)


def wrapped(program: Path, folder: Path, cpu: str = "cortex-a72") -> Path:
    """Write a script of the program's name that runs it as on a board, since the kernel here knows no foreign programs."""
    folder.mkdir(parents=True, exist_ok=True)
    return script(folder / program.name, f'exec {QEMU} -cpu {cpu} "{program}" "$@"')


def script(path: Path, text: str) -> Path:
    """Write a shell script that can be run."""
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return path


FLAGS = (
    "--model", "--ctx-size", "--n-predict", "--predict", "--threads", "--threads-batch", "--batch-size", "--ubatch-size",
    "--parallel", "--temp", "--seed", "--prompt", "--conversation", "--no-conversation", "--single-turn",
    "--no-display-prompt", "--no-escape", "--system-prompt", "--system-prompt-file", "--grammar-file",
    "--json-schema-file", "--prompt-cache", "--cache-type-k", "--cache-type-v", "--jinja", "--no-warmup", "--offline",
    "--perf", "--no-perf", "--simple-io", "--n-prompt", "--n-gen", "--repetitions", "--output", "--embeddings",
    "--pooling", "--chat-template", "--alias", "--cache-ram", "--ctx-checkpoints", "--repack", "--no-repack", "--load-mode",
    "--metrics", "--no-ui", "--no-slots", "--host", "--port", "--cors-origins", "--api-key-file",
)  # fmt: skip


def stand_in(path: Path, text: str, *, without: Sequence[str] = (), more: str = "") -> Path:
    """Write a script that has the help of llama.cpp's programs, but for some flags, and else does what `text` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = "\\n".join([*(flag for flag in FLAGS if flag not in without), *more.split()])
    return script(path, f"if [ \"$1\" = --help ]; then printf '%b\\n' '{told}'; exit 0; fi\n{text}")


class Board:
    """A recorded Raspberry Pi: its files below `root`, a home with an odd name, and a PATH with its own `uname`."""

    def __init__(self, folder: Path) -> None:
        self.home, self.root, self.bin = folder / "home of 'pi' $HOME", folder / "root", folder / "bin"
        for path in (self.home, self.bin, self.root / "proc" / "device-tree"):
            path.mkdir(parents=True)
        (self.root / "proc" / "meminfo").write_text("MemTotal:        1892352 kB\n")
        (self.root / "proc" / "device-tree" / "model").write_text("Raspberry Pi 4 Model B Rev 1.4\0")
        script(self.bin / "uname", "echo aarch64")
        script(self.bin / "nproc", "echo 4")
        script(self.bin / "dpkg-query", "exit 1")
        self.programs = self.home / ".local" / "share" / "pillm" / "llama.cpp"

    def run(
        self, name: str, *words: object, expect: int = 0, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script as on the board."""
        told = {"HOME": str(self.home), "PATH": f"{self.bin}:/usr/bin:/bin", "PILLM_ROOT": str(self.root), "TMPDIR": "/nowhere"}
        done = subprocess.run(
            [str(RPI4 / name), *map(str, words)], env={**told, **environment}, cwd=self.home, input=stdin, capture_output=True,
            text=True, check=False, timeout=250,
        )  # fmt: skip
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        return done

    def has(self, *names: str) -> None:
        """Put llama.cpp's programs in place, played by qemu."""
        for name in names:
            wrapped(program(name), self.programs / "bin")

    def listing(self) -> dict[str, int]:
        """Return every file of the home with the time of its last change."""
        return {str(path): path.stat().st_mtime_ns for path in self.home.rglob("*") if path.is_file()}


def options(text: str) -> set[str]:
    """Return the options that a script's help lists, or the comment that it is made of."""
    return set(re.findall(r"^#? {2,3}(--[a-z\d-]+) ", text, re.M))


def flags(line: str) -> list[str]:
    """Return the flags of a printed command."""
    return [word for word in shlex.split(line)[2:] if re.fullmatch(r"--?[a-z][\w-]*", word)]


def printed(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one command that a dry run printed."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("+ ")]
    return line


def known(name: str) -> set[str]:
    """Return the flags that a program of the board knows, as its help tells them."""
    said = subprocess.run([QEMU, str(program(name)), "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", said))
