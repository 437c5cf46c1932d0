"""Debian packages of pillm in an arm64 root of their own, with the C and C++ libraries of that kind, played by qemu."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.programs import need

ROOT = Path(__file__).parents[1]
RPI4 = ROOT / "rpi4"
DEBIAN = RPI4 / "debian"
QEMU = "qemu-aarch64-static"
CROSS = Path("/usr/aarch64-linux-gnu/lib")
PRIVATE = Path("usr/lib/pillm/llamacpp")
PROGRAMS = ("llama-bench", "llama-completion", "llama-embedding", "llama-server")


def output(*words: str | Path, umask: int = -1, **environment: str) -> str:
    """Run a command that must succeed and return what it printed."""
    told = {**os.environ, **environment}
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, umask=umask, env=told)
    assert done.returncode == 0, (words, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def build(out: Path, *options: str | Path, umask: int = -1, **environment: str) -> list[Path]:
    """Build both packages; minutes the first time, seconds where the compiled files were kept."""
    need("dh", "ninja", "cmake", "aarch64-linux-gnu-g++")
    archive = _archive()
    source = ("--source", archive) if archive else ()
    said = output(RPI4 / "build_packages.sh", *source, "--out", out, *options, umask=umask, **environment)
    return [Path(line.split("  ")[1]) for line in said.splitlines() if line.endswith(".deb")]


def _archive() -> Path | None:
    """Return the source where the plugin llamacpp keeps it already."""
    done = subprocess.run(
        [sys.executable, "-c", "from pillm_llamacpp import source; print(source.archive_path())"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = Path(done.stdout.strip())
    return found if found.is_file() else None


@dataclass(frozen=True)
class Root:
    """A folder that holds what the packages and the C and C++ libraries install."""

    path: Path

    @staticmethod
    def of(packages: list[Path], path: Path) -> Root:
        """Unpack the packages and put the libraries beside them."""
        need(QEMU, "dpkg-deb")
        if not CROSS.is_dir():
            pytest.skip("not installed: libc6-arm64-cross, the C library for arm64")
        for package in packages:
            output("dpkg-deb", "-x", package, path)
        (path / "lib").mkdir(exist_ok=True)
        for file in CROSS.glob("*.so*"):
            shutil.copy2(file, path / "lib" / file.name, follow_symlinks=True)
        (path / "proc" / "device-tree").mkdir(parents=True)
        (path / "proc" / "meminfo").write_text("MemTotal:        3882352 kB\n")
        (path / "proc" / "device-tree" / "model").write_text("Raspberry Pi 4 Model B Rev 1.4\0")
        return Root(path)

    def environment(self, cpu: str) -> dict[str, str]:
        """Return the environment in which the package's scripts find the package's programs, played as on that processor."""
        wrappers = self.path.with_name(f"{self.path.name}-{cpu}")
        (wrappers / "bin").mkdir(parents=True, exist_ok=True)
        for name in PROGRAMS:
            path = wrappers / "bin" / name
            path.write_text(f'#!/bin/sh\nexec {QEMU} -cpu {cpu} -L "{self.path}" "{self.path / PRIVATE / name}" "$@"\n')
            path.chmod(0o755)
        there = {"PILLM_LLAMACPP": str(wrappers), "PILLM_ROOT": str(self.path)}
        return {**there, "PATH": os.environ["PATH"], "HOME": str(wrappers)}

    def run(self, cpu: str, script: str, *words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a script of the package to its end."""
        done = subprocess.run(
            [str(self.path / script), *map(str, words)], env=self.environment(cpu), cwd=self.path, input=stdin,
            capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-4000:])
        return done


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def settings_of(text: str) -> set[str]:
    """Return the settings that a text names."""
    return set(re.findall(r"PILLM_[A-Z_]+", text)) - {"PILLM_ROOT", "PILLM_LLAMACPP", "PILLM_"}


def options_of(script: str) -> set[str]:
    """Return the options that a script reads: those that its first comment lists."""
    return set(re.findall(r"^# {3}(--[a-z-]+) ", script, re.M))
