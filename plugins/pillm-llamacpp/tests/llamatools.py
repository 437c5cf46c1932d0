"""llama.cpp's own tools in tests: run one, or skip the test where it cannot be built here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pillm_llamacpp import building

import pillm


def run_tool(name: str, *arguments: object) -> str:
    """Run a tool and return all that it said; skip the test where it cannot be built here."""
    done = subprocess.run(
        [str(tool(name)), *map(str, arguments)], capture_output=True, text=True, check=False, errors="replace", timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tool(name: str) -> Path:
    """Return the path of a tool, built where that was not done before."""
    try:
        return building.tool(name)
    except pillm.MissingDependency as error:
        pytest.skip(str(error))
