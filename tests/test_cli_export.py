"""`pillm export`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm import Divergence, ModelFile
from pillm.cli.export_command import models_table

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.fixture
def checkpoint(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> Path:
    """Label and train."""
    cli("label", rows, "--teacher", "echo", "--out", tmp_path / "label")
    cli("train", tmp_path / "label", "--trainer", "table", "--out", tmp_path / "train")
    return tmp_path / "train"


def test_each_quantisation_becomes_a_file(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("export", checkpoint, "--exporter", "table", "-o", "quants=F16,Q8_0", "--out", tmp_path / "export", "--json")
    assert [model["quant"] for model in done.json] == ["F16", "Q8_0"]
    assert all(Path(model["path"]).stat().st_size == model["bytes"] for model in done.json)


def test_terms_that_nobody_else_says_are_said_here(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    command = ("export", checkpoint, "--exporter", "table", "--out", tmp_path / "export")
    cli(*command)
    reasons = cli("card", tmp_path / "export", "--json").json["reasons"]
    assert any("the terms of the teacher echo are not known" in reason for reason in reasons)
    for role in ("teacher", "data"):
        assert any(f"export with --terms {role}=LICENCE" in reason for reason in reasons)
    said = ("--terms", "teacher=isc", "--terms", "data=CC0-1.0", "--terms", "license=MIT")
    assert cli(*command, *said).code == 0, "the advice is true"
    card = cli("card", tmp_path / "export", "--json").json
    assert (card["publishable"], card["license"]) == (True, "MIT")
    assert [(part["role"], part["license"], part["said_by"]) for part in card["parts"]] == [
        ("teacher", "isc", "recipe"), ("data", "CC0-1.0", "recipe"),
    ]  # fmt: skip


def test_terms_of_licences_that_ask_for_something_are_accepted_by_name(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    command = ("export", checkpoint, "--exporter", "table", "--out", tmp_path / "export")
    said = ("--terms", "teacher=my-terms", "--terms", "data=my-terms", "--terms", "license=MIT")
    cli(*command, *said)
    assert cli("card", tmp_path / "export", "--json").json["publishable"] is False
    cli(*command, *said, "--terms", "accepted=teacher,data")
    assert cli("card", tmp_path / "export", "--json").json["publishable"] is True
    done = cli(*command, "--terms", "techer=isc")
    assert done.code == 2
    assert "teacher" in done.err


def test_the_table_names_file_size_and_hash(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("export", checkpoint, "--exporter", "table", "--out", tmp_path / "export")
    assert "student-F16.table" in done.out
    assert "sha256" in done.out


def test_the_table_says_how_far_each_file_is_from_the_unquantised_one(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    found = Divergence(mean=0.01234, low=0.01, high=0.02, p99=0.2, largest=1.5, top1=0.98765, positions=500)
    models = [
        ModelFile.of(tmp_path / "a.gguf", "F16"),
        ModelFile.of(tmp_path / "a.gguf", "Q4_0", divergence=found, imatrix=True),
    ]
    table = models_table(models)
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["KLD"] == ["-", "0.012 i"]
    assert cells["top-1"] == ["-", "98.77%"]


def test_a_folder_that_is_no_model_is_refused(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = cli("export", tmp_path / "empty", "--exporter", "table", "--out", tmp_path / "export")
    assert done.code == 2
    assert "config.json" in done.err
    assert not (tmp_path / "export").exists()


def test_a_full_disk_ends_with_1_and_leaves_nothing_half_written(checkpoint: Path, fakes: Path, tmp_path: Path) -> None:
    (checkpoint / "table.json").write_text(json.dumps({"user: x": "y" * 300_000}), "utf-8")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        "from pillm.cli import main; main(sys.argv[1:])"
    )
    words = ["export", str(checkpoint), "--exporter", "table", "--out", str(tmp_path / "export")]
    environment = {**os.environ, "PYTHONPATH": str(fakes)}
    done = subprocess.run([sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "no space is left" in done.stderr
    assert not (tmp_path / "export").exists()
