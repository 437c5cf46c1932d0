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
