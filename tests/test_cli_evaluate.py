"""`pillm evaluate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.contract import Contract

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.fixture
def student(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> Path:
    """Label and train; give the checkpoint."""
    cli("label", rows, "--teacher", "echo", "--out", tmp_path / "label")
    cli("train", tmp_path / "label", "--trainer", "table", "--out", tmp_path / "train")
    return tmp_path / "train"


def test_a_teacher_and_two_files_stand_side_by_side(cli: Cli, student: Path, rows: Path, tmp_path: Path) -> None:
    cli("export", student, "--exporter", "table", "-o", "quants=F16,Q8_0", "--out", tmp_path / "export")
    files = [tmp_path / "export" / f"student-{quant}.table" for quant in ("F16", "Q8_0")]
    words = ["evaluate", rows, "--subject", "echo:truth=true", "--subject", files[0], "--subject", files[1]]
    done = cli(*words, "--json")
    assert done.code == 0, done.err
    assert [one["kind"] for one in done.json["evaluations"]] == ["teacher", "model", "model"]
    assert [one["quant"] for one in done.json["evaluations"][1:]] == ["F16", "Q8_0"]
    assert [one["metrics"]["exact"]["mean"] for one in done.json["evaluations"]] == [1, 1, 1]
    assert done.json["differences"][0]["metrics"]["exact"]["mean"] == 0
    shown = cli(*words).out
    assert "1.000 [0.439, 1.000]" in shown, "three groups, all right: Wilson's interval"
    assert "student-Q8_0.table against echo" in shown


def test_subjects_of_one_name_go_by_what_was_typed(cli: Cli, student: Path, rows: Path, tmp_path: Path) -> None:
    for name in ("r1", "r2"):
        shutil.copytree(student, tmp_path / name / "train")
    typed = [str(tmp_path / "r1" / "train"), str(tmp_path / "r2" / "train")]
    done = cli("evaluate", rows, "--subject", typed[0], "--subject", typed[1], "--subject", "echo", "--json")
    assert [one["subject"] for one in done.json["evaluations"]] == [*typed, "echo"]
    assert [(one["left"], one["right"]) for one in done.json["differences"]] == [(typed[0], typed[1]), (typed[0], "echo")]


def test_rows_without_a_reference_are_compared_with_the_first_teacher(cli: Cli, student: Path, rows: Path) -> None:
    found = cli("evaluate", rows, "--subject", student, "--subject", "echo", "--json").json["evaluations"]
    assert found[0]["metrics"]["exact"]["rows"] == 3  # one row has a reference, two have the teacher's answer
    assert found[0]["compared_with"] == "reference and teacher"


def test_a_teachers_answers_are_never_called_the_truth_wherever_its_rows_went(
    cli: Cli, student: Path, rows: Path, tmp_path: Path
) -> None:
    rows.write_text('{"user": "hello"}\n{"user": "hi"}\n', "utf-8")
    assert cli("label", rows, "--teacher", "echo", "--out", tmp_path / "lab").code == 0
    labelled = tmp_path / "lab" / "labelled.jsonl"
    assert cli("data", "convert", labelled, "--out", tmp_path / "native.jsonl").code == 0
    assert cli("label", labelled, "--teacher", "echo", "--out", tmp_path / "again").code == 0
    assert cli("data", "split", labelled, "--test", "1", "--out", tmp_path / "sides").code == 0
    places = (labelled, tmp_path / "native.jsonl", tmp_path / "again" / "labelled.jsonl", tmp_path / "sides" / "test.jsonl")
    for place in places:
        found = cli("evaluate", place, "--subject", student, "--json").json["evaluations"][0]
        assert found["compared_with"] == "teacher", place
        made = json.loads(place.read_text("utf-8").splitlines()[0])["provenance"]
        assert (made["source"], made["key"][:3], made["model"]) == ("teacher", "v1:", "echo-1"), place


def test_a_metric_that_applies_to_one_row_of_three_says_so(cli: Cli, student: Path, rows: Path) -> None:
    shown = cli("evaluate", rows, "--subject", student, "--metric", "exact").out
    assert "n=1" in shown
    found = cli("evaluate", rows, "--subject", student, "--metric", "exact", "--json").json["evaluations"][0]
    assert (found["rows"], found["metrics"]["exact"]["rows"]) == (3, 1)


def test_predictions_are_kept_where_out_says_so(cli: Cli, student: Path, rows: Path, tmp_path: Path) -> None:
    words = ("evaluate", rows, "--subject", student, "--out", tmp_path / "scores", "--json")
    kept = Path(cli(*words).json["evaluations"][0]["predictions"])
    assert kept.is_relative_to(tmp_path / "scores")
    assert len(kept.read_text("utf-8").splitlines()) == 3
    assert "up to date" in cli(*words).err


def test_scores_are_not_kept_in_a_folder_that_a_stage_made(cli: Cli, student: Path, rows: Path) -> None:
    (student / "manifest.json").write_text(json.dumps({"verb": "train"}), "utf-8")
    refused = cli("evaluate", rows, "--subject", student, "--out", student)
    assert refused.code == 2
    assert "holds what `train` made; it is left alone" in refused.err
    assert not list(student.rglob("predictions.jsonl"))


def test_a_metric_a_split_and_a_limit_can_be_chosen(cli: Cli, student: Path, rows: Path) -> None:
    done = cli("evaluate", rows, "--subject", student, "--metric", "shortness", "--limit", "2", "--json")
    assert list(done.json["evaluations"][0]["metrics"]) == ["shortness"]
    assert done.json["evaluations"][0]["rows"] == 2
    assert cli("evaluate", rows, "--subject", student, "--split", "test").code == 2


def test_a_teacher_is_asked_as_the_student_was_trained(cli: Cli, student: Path, rows: Path, tmp_path: Path) -> None:
    Contract(system="Be brief.").save(student / "contract.json")
    done = cli("evaluate", rows, "--subject", student, "--subject", "echo", "--out", tmp_path / "scores")
    assert done.code == 0, done.err
    assert "different contracts" not in done.err
    [asked] = (tmp_path / "scores").glob("echo-*/answers/contract.json")
    assert Contract.from_json(json.loads(asked.read_text("utf-8"))) == Contract(system="Be brief.")


def test_subjects_that_are_asked_differently_are_told_apart_with_the_remedy(
    cli: Cli, student: Path, rows: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(student, other)
    Contract(system="Be brief.").save(student / "contract.json")
    words = ("evaluate", rows, "--subject", student, "--subject", other)
    said = cli(*words).err
    assert "The subjects are asked under different contracts, and their scores differ by that too:" in said
    assert f"{student}: schema in the prompt: none, system message: 'Be brief.'" in said
    assert f"{other}: schema in the prompt: none, system message: none" in said
    assert "--system" in said
    assert "different contracts" not in cli(*words, "--system", "Hm.").err


@pytest.mark.parametrize(("subject", "said"), [("nosuch.gguf", "does not exist"), ("ecko", "Did you mean 'echo'?")])
def test_an_unknown_subject_is_named(cli: Cli, fakes: Path, rows: Path, subject: str, said: str) -> None:
    done = cli("evaluate", rows, "--subject", subject)
    assert done.code == 2
    assert said in done.err
