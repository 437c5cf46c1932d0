"""llama.cpp's own tools in tests: run one, or skip the test where it cannot be built here."""

from __future__ import annotations

<<<<<<< HEAD
import shutil
=======
>>>>>>> part-local
import subprocess
from pathlib import Path

import pytest
<<<<<<< HEAD
from pillm_llamacpp import source
from pillm_llamacpp.building.compiling import Build, build
from pillm_llamacpp.building.targets import TARGETS

import pillm

TOOLS = ("llama-imatrix", "llama-quantize", "llama-perplexity")
=======
from pillm_llamacpp import building

import pillm
>>>>>>> part-local


def run_tool(name: str, *arguments: object) -> str:
    """Run a tool and return all that it said; skip the test where it cannot be built here."""
    done = subprocess.run(
        [str(tool(name)), *map(str, arguments)], capture_output=True, text=True, check=False, errors="replace", timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tool(name: str) -> Path:
    """Return the path of a tool, built where that was not done before."""
<<<<<<< HEAD
    folder = source.cache_folder() / f"tools-{source.VERSION}-{source.SHA256[:8]}"
    path = folder / "bin" / name
    if not path.is_file():
        if not (source.archive_path().is_file() and shutil.which("cmake") and shutil.which("ninja") and shutil.which("c++")):
            pytest.skip("cmake, ninja, a compiler and the source archive are needed to build llama.cpp's tools")
        build(Build(target=TARGETS["this"], programs=TOOLS, out=folder), pillm.Progress("build"))
    return path
=======
    try:
        return building.tool(name)
    except pillm.MissingDependency as error:
        pytest.skip(str(error))
>>>>>>> part-local
