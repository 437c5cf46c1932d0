"""A run's folder as a whole: seconds, versions, and a report whose manifest covers everything below it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pillm.artifacts import ModelFile
from pillm.errors import ConfigError
from pillm.progress import Event, Progress
from pillm.recipe import Recipe, load_recipe
from pillm.report import RunFacts
from pillm.runfolder import makers_of, publish_report, run_folder, seconds_of, versions_of
from pillm.store import Lineage, WorkFolder, read_manifest, recorded
from pillm.testing import FAKES, EchoTeacher, installed_plugin
from pillm.verification import verify


def stage(folder: Path, name: str, seconds: float) -> None:
    verb = name.partition("/")[0]
    with WorkFolder(folder / name, verb, "k") as work:
        (work.path / "result").write_text(name)
        work.publish(Lineage(verb=verb, key="k", seconds=seconds, backends=(EchoTeacher(),)))


def facts(folder: Path) -> RunFacts:
    (folder / "recipe.yaml").write_text("prompts: rows.jsonl\n")
    model = ModelFile.of(folder / "label" / "result", "F16")
    rows = {"in": 2, "answered": 1, "rejected": 1, "failed": 0, "pending": 0}
    return RunFacts(recipe="test", rows=rows, models=[model], seconds=seconds_of(folder), versions=versions_of(folder))


def test_the_seconds_of_a_stage_are_those_of_its_making_summed_over_its_parts(tmp_path: Path) -> None:
    stage(tmp_path, "label", 3.0)
    stage(tmp_path, "evaluate/base", 1.0)
    stage(tmp_path, "evaluate/checkpoint", 1.5)
    assert seconds_of(tmp_path) == {"label": 3.0, "evaluate": 2.5}


def test_working_folders_do_not_count(tmp_path: Path) -> None:
    stage(tmp_path, "label", 3.0)
    stage(tmp_path, ".train.abc", 9.0)
    assert seconds_of(tmp_path) == {"label": 3.0}


def manifest(folder: Path, name: str, versions: dict[str, str]) -> None:
    (folder / name).mkdir(parents=True)
    told = {"manifest_version": 1, "files": {}, "versions": versions}  # the first version had no seal
    (folder / name / "manifest.json").write_text(json.dumps(told))


def test_versions_name_python_and_pillm_and_each_distribution_once(tmp_path: Path) -> None:
    stage(tmp_path, "label", 1.0)
    manifest(tmp_path, "train", {"pillm-hf": "0.1.0", "torch": "2.6.0"})
    manifest(tmp_path, "evaluate/base", {"pillm-hf": "0.1.0", "torch": "2.7.0"})
    found = versions_of(tmp_path)
    assert list(found)[:3] == ["python", "pillm", "platform"]
    assert (found["pillm-hf"], found["torch"]) == ("0.1.0", "2.7.0, 2.6.0")
    assert "echo" not in found


def test_a_report_is_written_once_and_its_manifest_covers_reports_and_stages(tmp_path: Path) -> None:
    stage(tmp_path, "label", 1.0)
    events: list[Event] = []
    progress = Progress("report", (events.append,))
    first = publish_report(tmp_path, facts(tmp_path), progress, seed=1)
    files = (read_manifest(tmp_path) or {})["files"]
    assert {"recipe.yaml", "report.json", "report.md", "report.html", "label/manifest.json"} == set(files)
    assert publish_report(tmp_path, facts(tmp_path), progress, seed=1) == first
    assert [event.kind for event in events] == ["finish", "up-to-date"]
    assert verify(tmp_path) == []


def test_a_changed_stage_writes_the_report_anew(tmp_path: Path) -> None:
    stage(tmp_path, "label", 1.0)
    publish_report(tmp_path, facts(tmp_path), Progress(), seed=1)
    stage(tmp_path, "train", 1.0)
    events: list[Event] = []
    publish_report(tmp_path, facts(tmp_path), Progress("report", (events.append,)), seed=1)
    assert [event.kind for event in events] == ["finish"]
    assert verify(tmp_path) == []


def test_the_makers_of_what_stands_are_known_by_their_options_and_version(tmp_path: Path) -> None:
    assert makers_of(tmp_path / "none") == []
    stage(tmp_path, "label", 1.0)
    stage(tmp_path, ".train.abc", 1.0)
    assert makers_of(tmp_path) == [recorded(EchoTeacher())]
    assert recorded(EchoTeacher(truth=True)) not in makers_of(tmp_path)


def recipe(tmp_path: Path, name: str = "mine.yaml") -> Recipe:
    (tmp_path / "project").mkdir(exist_ok=True)
    (tmp_path / "project" / name).write_text(
        "{prompts: rows.jsonl, teacher: {use: echo}, trainer: {use: table}, exporter: {use: table}, runner: {use: table}, "
        "checkpoint_runner: none}"
    )
    with installed_plugin(tmp_path / "site", "fakes", FAKES):
        return load_recipe(tmp_path / "project" / name)


def test_a_run_has_a_folder_of_its_name(tmp_path: Path) -> None:
    assert run_folder(recipe(tmp_path)) == Path("runs/mine")


def test_a_run_goes_on_in_its_own_folder_and_takes_up_what_was_labelled_before(tmp_path: Path) -> None:
    stage(tmp_path / "fresh", "label", 1.0)
    (tmp_path / "fresh" / "pillm.log").write_text("begun\n")
    (tmp_path / "killed").mkdir()
    for name in ("events.jsonl", "recipe.yaml", ".lock"):
        (tmp_path / "killed" / name).write_text("")
    stage(tmp_path / "done", "label", 1.0)
    publish_report(tmp_path / "done", facts(tmp_path / "done"), Progress(), seed=1)
    for name in ("fresh", "killed", "done"):
        assert run_folder(recipe(tmp_path), tmp_path / name) == tmp_path / name


def test_a_folder_that_is_no_runs_is_refused(tmp_path: Path) -> None:
    stage(tmp_path, "label", 1.0)
    mine = recipe(tmp_path)
    for out, reason in ((tmp_path / "label", "holds what `label` made"), (tmp_path / "project", "was not made by pillm")):
        with pytest.raises(ConfigError, match=reason):
            run_folder(mine, out)
    with pytest.raises(ConfigError, match=r"the recipe itself lies in \S*project.*Choose another --out, such as runs/recipe"):
        run_folder(recipe(tmp_path, "recipe.yaml"), tmp_path / "project")


@pytest.mark.parametrize("name", ["train", "export"])
def test_a_run_finds_a_file_of_the_users_own_in_its_stages_at_once(tmp_path: Path, name: str) -> None:
    mine, out = recipe(tmp_path), tmp_path / "run"
    stage(out, name, 1.0)
    assert run_folder(mine, out) == out
    (out / name / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=rf"{name} holds notes\.txt, which `{name}` did not put there"):
        run_folder(mine, out)
    (out / name / "manifest.json").unlink()
    with pytest.raises(ConfigError, match=rf"{name} was not made by pillm"):
        run_folder(mine, out)


def test_a_recipe_in_the_usual_folder_of_its_run_is_told_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = recipe(tmp_path, "recipe.yaml")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "recipe").symlink_to(tmp_path / "project")
    with pytest.raises(ConfigError, match=r"Choose another --out, such as runs/recipe-again\."):
        run_folder(mine)


def test_a_report_of_other_bytes_is_written_anew(tmp_path: Path) -> None:
    stage(tmp_path, "label", 1.0)
    first = publish_report(tmp_path, facts(tmp_path), Progress(), seed=1)
    good = (tmp_path / "report.json").read_bytes()
    for damaged in (b"\xff" + good[1:], good.replace(b'"answered": 1', b'"answered": 2', 1)):
        assert len(damaged) == len(good)
        (tmp_path / "report.json").write_bytes(damaged)
        assert publish_report(tmp_path, facts(tmp_path), Progress(), seed=1)["rows"] == first["rows"]
        assert verify(tmp_path) == []
