"""Whatever was changed since it was made is found and named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillm.cards.beside import sums_of
from pillm.errors import ConfigError, DataError
from pillm.store import Lineage, WorkFolder, write_manifest
from pillm.testing import EchoTeacher
from pillm.testing.hostile import SOUND
from pillm.verification import verify


def publish(out: Path, verb: str = "train", **files: str) -> None:
    with WorkFolder(out, verb, "k") as work:
        for name, text in files.items():
            (work.path / name).write_text(text)
        work.publish(Lineage(verb=verb, key="k", backends=(EchoTeacher(),), seed=3, seconds=1.5, counts={"in": 1}))


@pytest.mark.parametrize("verb", ["split", "train", "export", "bench"])
@pytest.mark.parametrize("name", ["evil.py", ".evil.py"])
def test_a_file_that_was_added_is_found_and_keeps_a_result_from_being_replaced(tmp_path: Path, verb: str, name: str) -> None:
    publish(tmp_path / "made", verb, weights="w")
    (tmp_path / "made" / name).write_text("x")
    assert [problem.reason for problem in verify(tmp_path)] == ["was added: the manifest does not list it"]
    with pytest.raises(ConfigError, match=rf"holds {name}"):
        publish(tmp_path / "made", verb, weights="w")


@pytest.mark.parametrize("name", ["pillm.log", "pillm.log.1", ".lock"])
def test_logs_and_locks_are_no_addition(tmp_path: Path, name: str) -> None:
    publish(tmp_path / "train", weights="w")
    (tmp_path / "train" / name).write_text("x")
    assert verify(tmp_path) == []
    publish(tmp_path / "train", weights="w")


@pytest.mark.parametrize("stage", ["export", "train"])  # before and after the run's own manifest
def test_a_folder_whose_manifest_names_no_maker_is_to_be_moved_away(tmp_path: Path, stage: str) -> None:
    publish(tmp_path / stage, stage, weights="w")
    manifest = tmp_path / stage / "manifest.json"
    write_manifest(tmp_path, Lineage(verb="run", key="k"), [manifest])
    manifest.write_bytes(manifest.read_bytes()[:100])
    for path in (tmp_path, tmp_path / stage, tmp_path / stage / "weights"):
        assert [(problem.path, problem.away) for problem in verify(path)] == [(manifest, tmp_path / stage)]
    with pytest.raises(ConfigError, match="was not made by pillm, or its manifest is damaged"):
        publish(tmp_path / stage, stage, weights="w")


@pytest.mark.parametrize("trace", ["answers.sqlite", "events.jsonl"])
def test_a_folder_that_its_maker_knows_without_a_manifest_stays_where_it_is(tmp_path: Path, trace: str) -> None:
    (tmp_path / trace).write_text("")
    (tmp_path / "manifest.json").write_text("{")
    assert [problem.away for problem in verify(tmp_path)] == [None]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(min_size=1, max_size=200), place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_any_changed_bit_is_found_and_the_file_is_named(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, place: int, bit: int
) -> None:
    out = tmp_path_factory.mktemp("run") / "export"
    with WorkFolder(out, "export", "k") as work:
        (work.path / "student.table").write_bytes(data)
        work.publish(Lineage(verb="export", key="k"))
    assert verify(out) == []
    changed = bytearray(data)
    changed[place % len(data)] ^= 1 << bit
    (out / "student.table").write_bytes(changed)
    assert [problem.path.name for problem in verify(out.parent)] == ["student.table"]


def test_a_model_that_no_library_should_open_is_named_although_it_is_what_was_recorded(tmp_path: Path) -> None:
    for name, data in (("sound", SOUND), ("cut", SOUND[:-9])):
        with WorkFolder(tmp_path / name, "export", "k") as work:
            (work.path / "student.gguf").write_bytes(data)
            (work.path / "vocab.txt").write_text("a")
            work.publish(Lineage(verb="export", key="k"))
    (problem,) = verify(tmp_path)
    assert problem.path == tmp_path / "cut" / "student.gguf"
    assert problem.reason.startswith("is not sound: the data of 'output_norm.weight' lies outside")


def test_verify_checks_a_single_file_against_the_manifest_above_it(tmp_path: Path) -> None:
    publish(tmp_path / "export", model="gguf")
    assert verify(tmp_path / "export" / "model") == []
    (tmp_path / "export" / "model").write_text("gguf!")
    assert verify(tmp_path / "export" / "model")[0].reason.startswith("was changed")
    (tmp_path / "stray").write_text("")
    with pytest.raises(DataError, match=r"nothing to check it against"):
        verify(tmp_path / "stray")


def test_any_changed_byte_of_a_manifest_is_found_and_the_manifest_is_named(tmp_path: Path) -> None:
    publish(tmp_path / "train", weights="w")
    manifest = tmp_path / "train" / "manifest.json"
    good = manifest.read_bytes()
    for place in range(0, len(good), 5):
        manifest.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        for path in (tmp_path, tmp_path / "train" / "weights", manifest):
            assert [problem.path for problem in verify(path)] == [manifest], place


@pytest.mark.parametrize(("old", "new"), [('"sha256"', '"sha257"'), ('"bytes"', '"bytez"'), ('"seed": 3', '"seed": 4')])
def test_a_changed_word_of_a_manifest_is_found(tmp_path: Path, old: str, new: str) -> None:
    publish(tmp_path / "train", weights="w")
    write_manifest(tmp_path, Lineage(verb="run", key="k", seed=3), [tmp_path / "train" / "manifest.json"])
    for folder in (tmp_path / "train", tmp_path):
        good = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(good.replace(old, new, 1))
        assert [problem.path for problem in verify(tmp_path)] == [folder / "manifest.json"]
        (folder / "manifest.json").write_text(good)
    assert verify(tmp_path) == verify(tmp_path / "manifest.json") == []


def received(folder: Path) -> Path:
    """Return a folder as it arrives where its run is not: files, and their sums."""
    folder.mkdir(parents=True)
    (folder / "m.gguf").write_bytes(SOUND)
    (folder / "SHA256SUMS").write_text(sums_of(folder, {}), "utf-8")
    return folder


def test_files_that_were_passed_on_are_held_against_their_sums(tmp_path: Path) -> None:
    folder = received(tmp_path / "there")
    assert verify(folder) == verify(folder / "m.gguf") == []
    (folder / "m.gguf").write_bytes(b"GGUF")
    for path in (folder, folder / "m.gguf"):
        assert [problem.reason for problem in verify(path)] == ["was changed: its sha256 is not the recorded one"]
    (folder / "m.gguf").unlink()
    assert [problem.reason for problem in verify(folder)] == ["is missing"]


def test_a_model_file_that_nothing_lists_is_looked_at_all_the_same(tmp_path: Path) -> None:
    folder = received(tmp_path / "there")
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(DataError, match=r"Its header is sound, but no manifest\.json .* and no SHA256SUMS"):
        verify(folder / "m.gguf")
    (folder / "m.gguf").write_bytes((folder / "m.gguf").read_bytes()[:-40])
    with pytest.raises(DataError, match="Nothing was opened"):
        verify(folder / "m.gguf")


@pytest.mark.parametrize("line", ["x", "0" * 64 + "  ../m.gguf", "0" * 64 + "  /etc/passwd", "\xff"])
def test_sums_that_lead_elsewhere_are_refused(tmp_path: Path, line: str) -> None:
    folder = received(tmp_path / "there")
    (folder / "SHA256SUMS").write_bytes(line.encode("latin-1") + b"\n")
    with pytest.raises(DataError, match="SHA256SUMS"):
        verify(folder)
