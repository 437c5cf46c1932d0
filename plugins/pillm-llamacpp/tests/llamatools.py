"""llama.cpp's own tools in tests: run one, or skip the test where it was not built."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pillm_llamacpp.building.built import Built, command, kept_folder
from pillm_llamacpp.building.targets import TARGETS


def run_tool(name: str, *arguments: object) -> str:
    """Run a tool and return all that it said; skip the test where it was not built."""
    done = subprocess.run(
        [str(tool(name)), *map(str, arguments)], capture_output=True, text=True, check=False, errors="replace", timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tool(name: str) -> Path:
    """Return the path of a tool; building takes minutes, so a test never does it by itself."""
    built = Built(TARGETS["this"], kept_folder(TARGETS["this"]))
    if built.lacking((name,)):
        pytest.skip(f"not built: {name} ({command(built.target, '--programs', name)})")
    return built.path(name)
