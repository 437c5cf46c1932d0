"""`pillm train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.fixture
def labelled(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> Path:
    """Label the three rows."""
    cli("label", rows, "--teacher", "echo", "--out", tmp_path / "label")
    return tmp_path / "label"


@pytest.mark.parametrize("given", ["", "labelled.jsonl"])
def test_a_folder_or_a_file_of_answered_rows_is_learnt(cli: Cli, labelled: Path, tmp_path: Path, given: str) -> None:
    done = cli("train", labelled / given, "--trainer", "table", "-o", "upper=true", "--out", tmp_path / "train", "--json")
    assert done.json == {"checkpoint": str(tmp_path / "train"), "rows": 3}
    assert sorted(json.loads((tmp_path / "train" / "table.json").read_text("utf-8")).values()) == ["HELLO", "HI", "SALUT"]


def test_the_probes_are_the_prompts_of_every_row(cli: Cli, labelled: Path, tmp_path: Path) -> None:
    cli("train", labelled, "--trainer", "table", "--out", tmp_path / "train")
    assert len((tmp_path / "train" / "probes.jsonl").read_text("utf-8").splitlines()) == 3


def test_training_again_is_up_to_date_and_another_option_trains_anew(cli: Cli, labelled: Path, tmp_path: Path) -> None:
    words = ("train", labelled, "--trainer", "table", "--out", tmp_path / "train")
    assert "up to date" not in cli(*words).err
    assert "up to date" in cli(*words).err
    assert "up to date" not in cli(*words, "-o", "upper=true").err


def test_rows_without_an_answer_are_named(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    done = cli("train", rows, "--trainer", "table", "--out", tmp_path / "train")
    assert done.code == 2
    assert "rows.jsonl:1" in done.err
    assert "pillm label" in done.err


def _trained(folder: Path) -> dict[str, object]:
    contract: dict[str, object] = json.loads((folder / "contract.json").read_text("utf-8"))
    return {name: contract[name] for name in ("schema_in_prompt", "system")}


@pytest.mark.parametrize("given", ["", "labelled.jsonl"])
def test_the_student_is_told_what_the_teacher_was_told(cli: Cli, fakes: Path, rows: Path, tmp_path: Path, given: str) -> None:
    cli("label", rows, "--teacher", "echo", "--out", tmp_path / "l", "--schema-in-prompt", "text", "--system", "Be brief.")
    words = ("train", tmp_path / "l" / given, "--trainer", "table", "--out", tmp_path / "train")
    assert cli(*words).code == 0
    assert _trained(tmp_path / "train") == {"schema_in_prompt": "text", "system": "Be brief."}
    assert "up to date" in cli(*words, "--schema-in-prompt", "text").err


@pytest.mark.parametrize("contradiction", [("--schema-in-prompt", "none"), ("--system", "Be long.")])
def test_an_option_that_contradicts_what_the_teacher_was_told_is_refused(
    cli: Cli, fakes: Path, rows: Path, tmp_path: Path, contradiction: tuple[str, str]
) -> None:
    cli("label", rows, "--teacher", "echo", "--out", tmp_path / "l", "--schema-in-prompt", "text")
    done = cli("train", tmp_path / "l", "--trainer", "table", "--out", tmp_path / "train", *contradiction)
    assert done.code == 2
    assert "contract.json" in done.err
    assert repr(contradiction[1]) in done.err
    assert not (tmp_path / "train").exists()


def test_rows_without_a_recorded_contract_are_told_what_the_options_say(cli: Cli, tmp_path: Path, labelled: Path) -> None:
    (labelled / "contract.json").unlink()
    cli("train", labelled, "--trainer", "table", "--out", tmp_path / "train", "--system", "Be brief.")
    assert _trained(tmp_path / "train") == {"schema_in_prompt": "none", "system": "Be brief."}


def test_a_trainer_that_starts_no_further_processes_says_so_and_trains_nothing(
    cli: Cli, labelled: Path, tmp_path: Path
) -> None:
    words = ("train", labelled, "--trainer", "table", "--out", tmp_path / "train", "--print-launch")
    assert "'table' starts no further processes" in cli(*words).out
    assert cli(*words, "--json").json == {"launch": None}
    assert not (tmp_path / "train").exists()
