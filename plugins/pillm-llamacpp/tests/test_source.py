from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from pillm_llamacpp import command, source
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.gates import checks

import pillm


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pillm" / "llama.cpp"


def test_an_archive_with_another_sha256_is_rejected_and_nothing_is_kept(empty_cache: Path, tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar.gz"
    archive.write_bytes(b"not the source")
    with pytest.raises(pillm.UnsafeError, match="not the pinned 832db069"):
        source.fetch(archive)
    assert [path.name for path in empty_cache.iterdir()] == [".lock"]


def test_the_archive_at_hand_is_unpacked_once(empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = _real_archive(monkeypatch, tmp_path)
    tree = source.fetch(kept)
    assert (tree / "convert_hf_to_gguf.py").is_file()
    assert (tree / "LICENSE").is_file()
    assert not (tree / "src").exists()
    assert source.archive_path().is_file()
    before = (tree / "LICENSE").stat().st_ino
    assert source.fetch() == tree  # no network, no work
    assert (tree / "LICENSE").stat().st_ino == before


def _real_archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    cache = os.environ["XDG_CACHE_HOME"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    found = source.archive_path()
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    return found


def test_paths_and_links_of_an_archive_never_leave_the_folder(tmp_path: Path) -> None:
    archive, prefix = tmp_path / "a.tar.gz", f"llama_cpp_python-{source.VERSION}/vendor/llama.cpp"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("conversion/ok.py", "conversion/../../../../evil.py", "/etc/evil", "src/x.c"):
            member = tarfile.TarInfo(name if name.startswith("/") else f"{prefix}/{name}")
            member.size = 2
            tar.addfile(member, io.BytesIO(b"ok"))
        link = tarfile.TarInfo(f"{prefix}/conversion/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    source.unpack(archive, tmp_path / "tree", ("conversion",))
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == ["a.tar.gz", "tree/conversion/ok.py"]


def test_the_command_says_where_it_is_or_how_to_get_it(empty_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["where"]) == 4
    assert "pillm-llamacpp fetch" in capsys.readouterr().err


def test_a_missing_converter_is_told_before_anything_is_labelled(empty_cache: Path) -> None:
    with pytest.raises(pillm.MissingDependency, match=source.REMEDY):
        GGUFExporter().check()


def test_what_the_converter_needs_is_told_before_anything_is_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    GGUFExporter().check()
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(pillm.MissingDependency, match=r"pillm-llamacpp\[convert\]"):
        GGUFExporter().check()


def test_the_installed_library_is_the_release_of_the_source() -> None:
    from importlib.metadata import version

    assert version("llama-cpp-python") == source.VERSION
