"""Programs are compiled from an archive by a real cmake; a small source stands for llama.cpp's, which takes minutes."""

from __future__ import annotations

import hashlib
import io
import platform
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.building.built import kept_folder, work_folder
from pillm_llamacpp.building.compiling import Build, build, emulate
from pillm_llamacpp.building.emulation import QEMU
from pillm_llamacpp.building.targets import TARGETS
from pillm_llamacpp_boardtools import CROSS, need

import pillm

CMAKE = """cmake_minimum_required(VERSION 3.14)
project(small C CXX)
foreach(name llama-completion llama-bench)
    add_executable(${name} main.cpp)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endforeach()
"""
MAIN = '#include <cstdio>\nint main() { puts("works"); }\n'
THIS, PI4 = TARGETS["this"], TARGETS["pi4"]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an archive that stands for the pinned one, and an empty cache."""
    need("cmake", "ninja", "c++")
    return pinned(tmp_path, monkeypatch, MAIN)


def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: str) -> Path:
    path = tmp_path / "small.tar.gz"
    files = {"CMakeLists.txt": CMAKE, "main.cpp": main, "convert_hf_to_gguf.py": "", ".git": "gitdir: elsewhere"}
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{source._PREFIX}/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    monkeypatch.setattr(source, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


def go(archive: Path, *programs: str, target: str = "this", **more: object) -> tuple[object, list[pillm.Event]]:
    events: list[pillm.Event] = []
    asked = Build(target=TARGETS[target], programs=programs, archive=archive, jobs=1, **more)  # type: ignore[arg-type]
    return build(asked, pillm.Progress("build", (events.append,))), events


def test_programs_are_built_once_and_more_of_them_later(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built, events = go(archive, "llama-bench")
    assert subprocess.run([built.path("llama-bench")], capture_output=True, text=True, check=True).stdout == "works\n"
    steps = [event for event in events if event.kind == "advance"]
    assert steps[-1].done == steps[-1].total == 2
    assert not work_folder(THIS).exists()
    again, events = go(archive, "llama-bench")
    assert [event.kind for event in events] == ["up-to-date"]
    more, _ = go(archive, "llama-bench", "llama-completion")
    assert again == built == more
    assert set(more.read()["programs"]) == {"llama-bench", "llama-completion"}


def test_a_failing_compiler_leaves_its_log_and_the_same_command_goes_on(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = work_folder(THIS)
    monkeypatch.setenv("CXXFLAGS", "-DBROKEN")
    shutil.rmtree(archive.parent / "cache", ignore_errors=True)
    broken = pinned(archive.parent, monkeypatch, MAIN.replace("int main", "#ifdef BROKEN\n#error no\n#endif\nint main"))
    work = work_folder(THIS)
    with pytest.raises(pillm.BackendError, match=r"cmake --build failed .*build\.log.*\n.*(?s:.)*error") as failed:
        go(broken, "llama-bench")
    assert "no program was put in place" in str(failed.value)
    assert not (kept_folder(THIS) / "bin").exists()
    assert (work / "build.log").read_text().count("error")
    (work / "llama.cpp" / "main.cpp").write_text(MAIN)
    built, _ = go(broken, "llama-bench")
    assert built.lacking(("llama-bench",)) == ()


@pytest.mark.skipif(platform.machine() == "aarch64", reason="needs a machine that is not Arm")
def test_a_board_gets_static_arm_programs_which_run_on_its_processor(archive: Path, tmp_path: Path) -> None:
    need(CROSS, QEMU)
    out = tmp_path / "for the board"
    built, _ = go(archive, "llama-completion", target="pi4", out=out)
    head = (out / "bin" / "llama-completion").read_bytes()[:20]
    assert head[:5] == b"\x7fELF\x02"
    assert int.from_bytes(head[18:20], "little") == 183  # EM_AARCH64
    emulate(built, ("llama-completion",))
    (out / "bin" / "llama-completion").write_bytes(b"changed")
    with pytest.raises(pillm.MissingDependency):
        emulate(built, ("llama-completion",))


def test_programs_of_this_machine_are_not_emulated(archive: Path) -> None:
    built, _ = go(archive, "llama-bench")
    with pytest.raises(pillm.ConfigError, match="nothing to emulate"):
        emulate(built, ("llama-bench",))


def test_nothing_is_begun_without_the_tools_or_with_a_wrong_name(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(pillm.ConfigError, match="no program llama-nothing"):
        go(archive, "llama-nothing")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pillm.MissingDependency, match="apt install"):
        go(archive, "llama-bench", target="pi4")
    assert not work_folder(PI4).exists()


def test_a_disk_without_room_is_told_before_anything_is_unpacked(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(archive.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(pillm.StorageError, match="0 MB free; a build takes 900 MB"):
        go(archive, "llama-bench")


def test_a_folder_that_cannot_be_written_is_told(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(pillm.StorageError, match="cannot be written"):
        go(archive, "llama-bench", out=tmp_path / "file")


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_the_pinned_source_builds_for_the_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("cmake", "ninja", CROSS, QEMU)
    archive = source.fetch() and source.archive_path()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built, _ = go(archive, "llama-completion", target="pi4")
    emulate(built, ("llama-completion",))
