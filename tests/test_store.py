"""A result exists whole, with its manifest, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillm.errors import DataError
from pillm.store import Lineage, WorkFolder, is_current, read_manifest, stage_key, verify, write_manifest
from pillm.testing import EchoTeacher


def publish(out: Path, key: str = "k" * 64, **files: str) -> None:
    with WorkFolder(out, key) as work:
        for name, text in files.items():
            (work.path / name).write_text(text)
        work.publish(Lineage(verb="train", key=key))


def test_a_published_folder_is_current_for_its_key_only(tmp_path: Path) -> None:
    publish(tmp_path / "train", weights="w")
    assert is_current(tmp_path / "train", "k" * 64)
    assert not is_current(tmp_path / "train", "other")


def test_a_folder_without_a_manifest_does_not_exist(tmp_path: Path) -> None:
    publish(tmp_path / "train", weights="w")
    (tmp_path / "train" / "manifest.json").unlink()
    assert not is_current(tmp_path / "train", "k" * 64)
    with pytest.raises(DataError, match=r"no finished run or stage"):
        verify(tmp_path)


def test_an_interrupted_backend_finds_its_files_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), WorkFolder(tmp_path / "train", "k") as work:
        (work.path / "step-100").write_text("half")
        raise KeyboardInterrupt
    assert not (tmp_path / "train").exists()
    with WorkFolder(tmp_path / "train", "k") as work:
        assert (work.path / "step-100").read_text() == "half"


def test_a_new_result_replaces_the_old_and_leaves_nothing_beside(tmp_path: Path) -> None:
    publish(tmp_path / "train", weights="old", extra="x")
    publish(tmp_path / "train", key="n" * 64, weights="new")
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["manifest.json", "weights"]
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


@pytest.mark.parametrize("name", ["thesis.txt", ".git"])
def test_a_folder_that_pillm_did_not_make_is_refused_before_any_work_and_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / name).write_text("mine")
    with pytest.raises(DataError, match=r"was not made by pillm"), WorkFolder(tmp_path / "train", "k"):
        pytest.fail("work was begun")
    assert (tmp_path / "train" / name).read_text() == "mine"


def test_siblings_with_similar_names_are_left_alone(tmp_path: Path) -> None:
    for name in (".m.v2.0123456789abcdef", ".m.backup", ".m.old"):
        (tmp_path / name).mkdir()
    publish(tmp_path / "m", weights="w")
    assert {path.name for path in tmp_path.iterdir()} == {"m", ".m.v2.0123456789abcdef", ".m.backup", ".m.old"}


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_between_the_renames_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    publish(tmp_path / "train", key="old" * 9, weights="old")
    done, rename = [], Path.rename

    def killed(path: Path, target: Path) -> Path:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(path)
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path / "train", weights="new")
    assert is_current(tmp_path / "train", "k" * 64)
    assert (tmp_path / "train" / "weights").read_text() == "new"
    assert verify(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_a_file_that_was_added_to_a_result_is_found(tmp_path: Path) -> None:
    publish(tmp_path / "train", weights="w")
    (tmp_path / "train" / "evil.py").write_text("x")
    assert [problem.reason for problem in verify(tmp_path)] == ["was added: the manifest does not list it"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(min_size=1, max_size=200), place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_any_changed_bit_is_found_and_the_file_is_named(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, place: int, bit: int
) -> None:
    out = tmp_path_factory.mktemp("run") / "export"
    with WorkFolder(out, "k") as work:
        (work.path / "student.gguf").write_bytes(data)
        work.publish(Lineage(verb="export", key="k"))
    assert verify(out) == []
    changed = bytearray(data)
    changed[place % len(data)] ^= 1 << bit
    (out / "student.gguf").write_bytes(changed)
    assert [problem.path.name for problem in verify(out.parent)] == ["student.gguf"]


def test_verify_checks_a_single_file_against_the_manifest_above_it(tmp_path: Path) -> None:
    publish(tmp_path / "export", model="gguf")
    assert verify(tmp_path / "export" / "model") == []
    (tmp_path / "export" / "model").write_text("gguf!")
    assert verify(tmp_path / "export" / "model")[0].reason.startswith("was changed")
    (tmp_path / "stray").write_text("")
    with pytest.raises(DataError, match=r"nothing to check it against"):
        verify(tmp_path / "stray")


def test_a_missing_file_is_a_problem_and_makes_the_folder_stale(tmp_path: Path) -> None:
    publish(tmp_path / "export", model="gguf")
    (tmp_path / "export" / "model").unlink()
    assert verify(tmp_path)[0].reason == "is missing"
    assert not is_current(tmp_path / "export", "k" * 64)


def test_the_event_stream_and_the_log_are_exempt(tmp_path: Path) -> None:
    for name in ("report.json", "events.jsonl", "pillm.log", "pillm.log.1"):
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path, Lineage(verb="run", key="k"))
    (tmp_path / "events.jsonl").write_text("more")
    assert verify(tmp_path) == []
    assert list((read_manifest(tmp_path) or {})["files"]) == ["report.json"]


def test_a_manifest_that_is_not_json_counts_as_none(tmp_path: Path) -> None:
    publish(tmp_path / "train", weights="w")
    (tmp_path / "train" / "manifest.json").write_text("{")
    assert read_manifest(tmp_path / "train") is None
    assert verify(tmp_path)[0].reason == "is not a readable manifest"


def test_a_stage_key_ignores_options_that_cannot_change_the_result() -> None:
    keys = {stage_key("label", {"rows": "r"}, EchoTeacher(window=window)) for window in (1, 5)}
    assert len(keys) == 1
    assert stage_key("label", {"rows": "r"}, EchoTeacher(truth=True)) not in keys
    assert stage_key("label", {"rows": "s"}, EchoTeacher()) not in keys


def test_a_manifest_says_what_made_the_result(tmp_path: Path) -> None:
    teacher = EchoTeacher(script={"a": "b"})
    with WorkFolder(tmp_path / "label", "k") as work:
        (work.path / "rows").write_text("x")
        work.publish(Lineage(verb="label", key="k", backends=(teacher,), seed=3, counts={"in": 1}, parents={"data": "p"}))
    manifest = json.loads((tmp_path / "label" / "manifest.json").read_text())
    assert manifest["backends"][0]["script"] == {"a": "b"}
    assert (manifest["seed"], manifest["counts"], manifest["parents"]) == (3, {"in": 1}, {"data": "p"})
    assert {"python", "pillm"} <= set(manifest["versions"])
