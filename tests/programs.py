"""Programs that tests use where this machine has them: tools of the system, and llama.cpp's own where they were built."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def need(*tools: str) -> None:
    """Skip the test where a tool of the system is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def llama_program(name: str, target: str = "this") -> Path:
    """Return a program of llama.cpp that was built for a target and is kept in the cache; skip the test where it was not."""
    from pillm_llamacpp.building.built import Built, command, kept_folder
    from pillm_llamacpp.building.targets import TARGETS

    built = Built(TARGETS[target], kept_folder(TARGETS[target]))
    if built.lacking((name,)):
        pytest.skip(f"not built: {name} ({command(built.target, '--programs', name)})")
    return built.path(name)


def llama_server() -> str:
    """Return the llama-server that PILLM_LLAMA_SERVER names, else the one on the PATH, else the one that was built here."""
    named = os.environ.get("PILLM_LLAMA_SERVER") or shutil.which("llama-server")
    return named or str(llama_program("llama-server"))
