"""A result exists whole, with its manifest, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pillm.errors import ConfigError, DataError
from pillm.store import Lineage, WorkFolder, is_current, made_by, read_manifest, stage_key, write_manifest
from pillm.testing import EchoTeacher
from pillm.verification import verify


def publish(out: Path, key: str = "k" * 64, **files: str) -> None:
    with WorkFolder(out, "train", key) as work:
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
    with pytest.raises(KeyboardInterrupt), WorkFolder(tmp_path / "train", "train", "k") as work:
        (work.path / "step-100").write_text("half")
        raise KeyboardInterrupt
    assert not (tmp_path / "train").exists()
    with WorkFolder(tmp_path / "train", "train", "k") as work:
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
    with pytest.raises(ConfigError, match=r"was not made by pillm"), WorkFolder(tmp_path / "train", "train", "k"):
        pytest.fail("work was begun")
    assert (tmp_path / "train" / name).read_text() == "mine"


def test_what_a_kill_left_aside_does_not_stand_in_the_way(tmp_path: Path) -> None:
    publish(tmp_path / "train", weights="old")
    for key in ("n" * 64, "m" * 64):
        with WorkFolder(tmp_path / "train", "train", key) as work:
            aside = work.path.with_name(f"{work.path.name}.old")
        aside.mkdir()
        (aside / "weights").write_text("older")
        publish(tmp_path / "train", key=key, weights="new")
        assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_a_result_waits_beside_a_folder_that_became_somebody_elses(tmp_path: Path) -> None:
    publish(tmp_path / "work", key="old" * 9, weights="old")
    with WorkFolder(tmp_path / "work", "train", "k" * 64) as work:
        (work.path / "weights").write_text("new")
        (tmp_path / "work" / "notes.txt").write_text("mine")  # while training went on
        with pytest.raises(ConfigError, match=r"work holds notes\.txt, which `train` did not put there"):
            work.publish(Lineage(verb="train", key="k" * 64))
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        is_current(tmp_path / "work", "k" * 64)
    (tmp_path / "work" / "notes.txt").rename(tmp_path / "notes.txt")
    assert is_current(tmp_path / "work", "k" * 64)
    assert (tmp_path / "work" / "weights").read_text() == "new"


def test_what_a_backend_hides_is_no_part_of_the_result(tmp_path: Path) -> None:
    with WorkFolder(tmp_path / "train", "train", "k") as work:
        (work.path / ".cache" / "deep").mkdir(parents=True)
        (work.path / ".cache" / "deep" / ".state").write_text("x")
        (work.path / "weights").write_text("w")
        work.publish(Lineage(verb="train", key="k"))
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["manifest.json", "weights"]


def test_a_kill_while_the_manifest_is_written_leaves_a_backend_what_it_resumes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with WorkFolder(tmp_path / "train", "train", "k") as work:
        (work.path / ".state").write_text("step 100")
        (work.path / "weights").write_text("w")
        with monkeypatch.context() as patched:
            patched.setattr("pillm.store.fsync_file", killed)
            with pytest.raises(KeyboardInterrupt):
                work.publish(Lineage(verb="train", key="k"))
        assert (work.path / ".state").read_text() == "step 100"


def test_a_log_that_is_kept_in_a_result_outlives_its_replacement(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "pillm.log").write_text("begun\n")
    for key in ("k" * 64, "n" * 64):
        publish(tmp_path / "train", key=key, weights=key)
        assert (tmp_path / "train" / "pillm.log").read_text() == "begun\n"
        assert is_current(tmp_path / "train", key)
        assert verify(tmp_path) == []


def test_a_small_file_that_was_changed_makes_the_folder_stale(tmp_path: Path) -> None:
    publish(tmp_path / "train", weights="w")
    (tmp_path / "train" / "weights").write_text("v")
    assert not is_current(tmp_path / "train", "k" * 64)


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
    assert verify(tmp_path)[0].reason.startswith("is damaged")


@pytest.mark.parametrize("text", ["[]", "7", '{"manifest_version": 2, "key": NaN}', '{"manifest_version": 1, "files": []}'])
def test_a_manifest_of_another_shape_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    assert read_manifest(tmp_path) is None
    assert made_by(tmp_path) is None


@pytest.mark.parametrize("files", [{"weights": 3}, {"weights": {"sha256": "s"}}, {"weights": {"sha256": "s", "bytes": "1"}}])
def test_a_manifest_that_lists_files_otherwise_counts_as_none(tmp_path: Path, files: dict[str, object]) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"manifest_version": 1, "files": files}))
    assert read_manifest(tmp_path) is None


def test_a_result_of_the_first_version_still_stands(tmp_path: Path) -> None:
    publish(tmp_path / "train", weights="w")
    manifest = json.loads((tmp_path / "train" / "manifest.json").read_text())
    del manifest["sha256"]
    (tmp_path / "train" / "manifest.json").write_text(json.dumps(manifest))
    assert not is_current(tmp_path / "train", "k" * 64)  # a manifest that lost its seal is none
    (tmp_path / "train" / "manifest.json").write_text(json.dumps({**manifest, "manifest_version": 1}))
    assert is_current(tmp_path / "train", "k" * 64)
    assert verify(tmp_path) == []


def test_a_stage_key_ignores_options_that_cannot_change_the_result() -> None:
    keys = {stage_key("label", {"rows": "r"}, EchoTeacher(window=window)) for window in (1, 5)}
    assert len(keys) == 1
    assert stage_key("label", {"rows": "r"}, EchoTeacher(truth=True)) not in keys
    assert stage_key("label", {"rows": "s"}, EchoTeacher()) not in keys


def test_a_manifest_says_what_made_the_result(tmp_path: Path) -> None:
    teacher = EchoTeacher(script={"a": "b"})
    with WorkFolder(tmp_path / "label", "label", "k") as work:
        (work.path / "rows").write_text("x")
        work.publish(Lineage(verb="label", key="k", backends=(teacher,), seed=3, counts={"in": 1}, parents={"data": "p"}))
    manifest = json.loads((tmp_path / "label" / "manifest.json").read_text())
    assert manifest["backends"][0]["script"] == {"a": "b"}
    assert (manifest["seed"], manifest["counts"], manifest["parents"]) == (3, {"in": 1}, {"data": "p"})
    assert {"python", "pillm"} <= set(manifest["versions"])
