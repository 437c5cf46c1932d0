"""llama.cpp's own tools are of the commit that pillm is pinned to, and what is missing to build them is said."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.building import tools
from pillm_llamacpp_llamatools import tool

import pillm


def test_a_tool_is_of_the_pinned_commit() -> None:
    said = subprocess.run([str(tool("llama-bench")), "--version"], capture_output=True, text=True, check=False)
    assert source.COMMIT in said.stdout + said.stderr


def test_without_a_compiler_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "cache_folder", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pillm.MissingDependency, match="cmake"):
        tools.tool("llama-bench")
