"""`pillm card`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import Cli


def exported(cli: Cli, rows: Path, tmp_path: Path) -> Path:
    cli("label", rows, "--teacher", "echo", "--out", tmp_path / "label")
    cli("train", tmp_path / "label" / "labelled.jsonl", "--trainer", "table", "--out", tmp_path / "train")
    assert cli("export", tmp_path / "train", "--exporter", "table", "--out", tmp_path / "export").code == 0
    return tmp_path / "export"


def test_the_card_of_an_export_says_under_what_terms_it_may_be_passed_on(
    cli: Cli, fakes: Path, rows: Path, tmp_path: Path
) -> None:
    folder = exported(cli, rows, tmp_path)
    done = cli("card", folder)
    assert done.code == 0
    assert str(folder / "README.md") in done.out
    assert "Not to be published yet" in done.out
    document = cli("card", folder, "--json").json
    assert document["publishable"] is False
    assert document["reasons"]
    assert document["files"][0]["file"] == "student-F16.table"


def test_a_folder_that_is_neither_run_nor_export_is_refused(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    done = cli("card", tmp_path)
    assert done.code == 2
    assert "Give the folder of a finished run, or of an export." in done.err
