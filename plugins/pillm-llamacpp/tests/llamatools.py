"""llama.cpp's own tools, built once from the pinned source into the user's cache."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.building.compiling import Build, build
from pillm_llamacpp.building.targets import TARGETS

import pillm

TOOLS = ("llama-imatrix", "llama-quantize", "llama-perplexity")


def run_tool(name: str, *arguments: object) -> str:
    """Run a tool and return all that it said; skip the test where it cannot be built here."""
    done = subprocess.run(
        [str(tool(name)), *map(str, arguments)], capture_output=True, text=True, check=False, errors="replace", timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tool(name: str) -> Path:
    """Return the path of a tool, built where that was not done before."""
    folder = source.cache_folder() / f"tools-{source.VERSION}-{source.SHA256[:8]}"
    path = folder / "bin" / name
    if not path.is_file():
        if not (source.archive_path().is_file() and shutil.which("cmake") and shutil.which("ninja") and shutil.which("c++")):
            pytest.skip("cmake, ninja, a compiler and the source archive are needed to build llama.cpp's tools")
        build(Build(target=TARGETS["this"], programs=TOOLS, out=folder), pillm.Progress("build"))
    return path
