"""A run's folder as a whole: seconds, versions, and a report whose manifest covers everything below it."""

from __future__ import annotations

import json
from pathlib import Path

from pillm.artifacts import ModelFile
from pillm.progress import Event, Progress
from pillm.report import RunFacts
from pillm.runfolder import publish_report, seconds_of, versions_of
from pillm.store import Lineage, WorkFolder, read_manifest, verify
from pillm.testing import EchoTeacher


def stage(folder: Path, name: str, seconds: float) -> None:
    with WorkFolder(folder / name, "k") as work:
        (work.path / "result").write_text(name)
        work.publish(Lineage(verb=name, key="k", seconds=seconds, backends=(EchoTeacher(),)))


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
    (folder / name / "manifest.json").write_text(json.dumps({"files": {}, "versions": versions}))


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
