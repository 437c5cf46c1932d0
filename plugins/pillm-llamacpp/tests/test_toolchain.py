from __future__ import annotations

import platform
from pathlib import Path

import pytest
from pillm_llamacpp.building import toolchain
from pillm_llamacpp.building.targets import TARGETS

import pillm

FOREIGN = platform.machine() != "aarch64"


@pytest.mark.skipif(not FOREIGN, reason="needs a machine that is not Arm")
def test_another_processor_gets_a_cross_compiler_and_a_file_that_names_it(tmp_path: Path) -> None:
    (option,) = toolchain.write_toolchain(TARGETS["pi4"], tmp_path)
    written = (tmp_path / "toolchain.cmake").read_text()
    assert option == f"-DCMAKE_TOOLCHAIN_FILE={tmp_path / 'toolchain.cmake'}"
    assert toolchain.compiler(TARGETS["pi4"]) in written
    assert "set(CMAKE_SYSTEM_PROCESSOR aarch64)" in written


def test_on_the_board_itself_nothing_is_crossed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.delenv("CXX", raising=False)
    assert toolchain.write_toolchain(TARGETS["pi4"], tmp_path) == []
    assert toolchain.compiler(TARGETS["pi4"]) == "c++"
    assert not toolchain.is_foreign(TARGETS["this"])


def test_all_that_is_missing_is_told_at_once_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(pillm.MissingDependency, match=r"apt install cmake ninja-build g\+\+-aarch64-linux-gnu$"):
        toolchain.require_build_tools(TARGETS["pi4"])


def test_make_drives_the_build_where_there_is_no_ninja(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "make").touch(0o755)
    assert toolchain.generator() == []
    (tmp_path / "ninja").touch(0o755)
    assert toolchain.generator() == ["-G", "Ninja"]
