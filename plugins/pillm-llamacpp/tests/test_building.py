from __future__ import annotations

import subprocess

import pytest
from pillm_llamacpp import building, source
from pillm_llamacpp_llamatools import tool

import pillm


def test_a_tool_is_of_the_pinned_commit() -> None:
    said = subprocess.run([str(tool("llama-quantize")), "--version"], capture_output=True, text=True, check=False)
    assert source.COMMIT in said.stdout + said.stderr


def test_without_a_compiler_it_is_said_what_is_missing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(building.source, "cache_folder", lambda: tmp_path)
    with pytest.raises(pillm.MissingDependency, match="cmake, ninja, a C\\+\\+ compiler"):
        building.tool("llama-bench")
