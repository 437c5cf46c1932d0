"""`pillm verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.test_tracing import made

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.fixture
def folder(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> Path:
    """Label the three rows."""
    cli("label", rows, "--teacher", "echo", "--out", tmp_path / "label")
    return tmp_path / "label"


def test_what_was_made_holds(cli: Cli, folder: Path) -> None:
    assert cli("verify", folder).code == 0
    assert cli("verify", folder / "labelled.jsonl", "--json").json == {
        "path": str(folder / "labelled.jsonl"),
        "verified": True,
        "problems": [],
    }


def test_one_changed_byte_ends_with_1_and_names_the_file(cli: Cli, folder: Path) -> None:
    path = folder / "labelled.jsonl"
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    for target in (folder, path):
        done = cli("verify", target)
        assert done.code == 1
        assert str(path) in done.out
    assert cli("verify", folder, "--json").json["problems"][0]["path"] == str(path)


def test_the_remedy_makes_the_stage_anew_and_buys_nothing(cli: Cli, folder: Path, rows: Path) -> None:
    path = folder / "labelled.jsonl"
    path.write_text(path.read_text("utf-8").replace("hello", "hullo"), "utf-8")
    done = cli("verify", folder, "-qq")
    assert "Keep answers.sqlite" in done.err
    assert "Remove their folder" not in done.err
    path.unlink()
    again = cli("label", rows, "--teacher", "echo", "--out", folder)
    assert again.code == 0
    assert "3 of 3 rows are answered already" in again.err
    assert cli("verify", folder).code == 0


def test_a_folder_that_nobody_knows_any_more_is_to_be_moved_away(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    again = ("data", "split", rows, "--out", out)
    assert cli(*again).code == 0
    (out / "manifest.json").write_bytes((out / "manifest.json").read_bytes()[:10])
    done = cli("verify", out)
    assert done.code == 1
    assert f"Nothing in {out} says any more what made it: move the whole folder away" in " ".join(done.err.split())
    assert "Remove the changed ones" not in done.err
    assert cli(*again).code == 2
    out.rename(tmp_path / "away")
    assert cli(*again).code == 0
    assert cli("verify", out).code == 0


def test_a_missing_file_is_named(cli: Cli, folder: Path) -> None:
    (folder / "labelled.jsonl").unlink()
    assert "is missing" in cli("verify", folder).out


def test_nothing_to_verify_is_an_error(cli: Cli, tmp_path: Path) -> None:
    assert cli("verify", tmp_path).code == 2


def test_a_model_file_is_held_against_its_run(cli: Cli, tmp_path: Path) -> None:
    file, other = made(tmp_path / "a"), made(tmp_path / "b", changed=1)
    done = cli("verify", file)
    assert done.code == 0
    assert "✓ pillm.data agrees with" in done.out
    document = cli("verify", file, "--run", tmp_path / "b", "--json")
    assert document.code == 1
    differ = {one["what"] for one in document.json["lineage"] if not one["agrees"]}
    assert {"sha256", "pillm.data", "pillm.train"} <= differ
    assert "✗ pillm.data: the file says" in cli("verify", other, "--run", tmp_path / "a").out


def test_a_run_is_no_model_file(cli: Cli, folder: Path) -> None:
    done = cli("verify", folder, "--run", folder)
    assert done.code == 2
    assert "--run is for a model file" in done.err


def test_files_that_were_passed_on_are_to_be_fetched_again(cli: Cli, tmp_path: Path) -> None:
    file = made(tmp_path / "a")
    (file.parent / "manifest.json").unlink()
    away = file.parent.rename(tmp_path / "away") / file.name
    done = cli("verify", away)
    assert done.code == 0
    assert "✓ sha256 agrees with away/SHA256SUMS" in done.out
    away.unlink()
    done = cli("verify", away.parent)
    assert done.code == 1
    assert "is missing" in done.out
    assert "Copy or fetch them again" in done.err
    assert "answers.sqlite" not in done.err
