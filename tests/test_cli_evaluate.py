"""`pillm evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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


def test_rows_without_a_reference_are_compared_with_the_first_teacher(cli: Cli, student: Path, rows: Path) -> None:
    found = cli("evaluate", rows, "--subject", student, "--subject", "echo", "--json").json["evaluations"]
    assert found[0]["metrics"]["exact"]["rows"] == 3  # one row has a reference, two have the teacher's answer
    assert found[0]["compared_with"] == "reference and teacher"


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


def test_a_metric_a_split_and_a_limit_can_be_chosen(cli: Cli, student: Path, rows: Path) -> None:
    done = cli("evaluate", rows, "--subject", student, "--metric", "shortness", "--limit", "2", "--json")
    assert list(done.json["evaluations"][0]["metrics"]) == ["shortness"]
    assert done.json["evaluations"][0]["rows"] == 2
    assert cli("evaluate", rows, "--subject", student, "--split", "test").code == 2


@pytest.mark.parametrize(("subject", "said"), [("nosuch.gguf", "does not exist"), ("ecko", "Did you mean 'echo'?")])
def test_an_unknown_subject_is_named(cli: Cli, fakes: Path, rows: Path, subject: str, said: str) -> None:
    done = cli("evaluate", rows, "--subject", subject)
    assert done.code == 2
    assert said in done.err
