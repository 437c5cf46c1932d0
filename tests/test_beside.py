"""What stands beside model files is whole, true and written anew with what is measured."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pillm.artifacts import Benchmark, Checkpoint, Evaluation, Figure
from pillm.cards.beside import refresh
from pillm.cards.card import read_card
from pillm.cards.preference import Preference
from pillm.errors import DataError
from pillm.records import Prompt
from pillm.stages.exporting import export
from pillm.stages.labelling import label
from pillm.stages.training import Training, train
from pillm.store import read_manifest
from pillm.testing import EchoTeacher
from pillm.testing.fakes import TableExporter, TableTrainer
from pillm.verification import verify

FIGURE = Figure(mean=0.5, low=0.4, high=0.6, rows=9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an export of two files."""
    rows = [
        Prompt(id=f"r{n}", messages=({"role": "user", "content": f"say {n}"},), license="MIT", source="d") for n in range(4)
    ]
    labelled = label(rows, EchoTeacher(), tmp_path / "label")
    checkpoint = train(labelled, TableTrainer(), tmp_path / "train", settings=Training(teacher=EchoTeacher()))
    told = Checkpoint(path=checkpoint.path, name="x", told={"license": "mit", "terms": {"teacher": "isc"}})
    export(told, TableExporter(quants=("F16", "Q8_0")), tmp_path / "export")
    return tmp_path / "export"


def measured(folder: Path) -> None:
    evaluation = Evaluation(subject="student-Q8_0.table", kind="model", set="test", rows=9, metrics={"exact": FIGURE})
    fast = Benchmark(model="student-Q8_0.table", device="pi4", basis="measured", pp_tps=9, tg_tps=3)
    refresh(folder, [evaluation], [fast], chosen=Preference("student-Q8_0.table", "it was scored"))


def test_an_export_has_its_card_from_the_first(folder: Path) -> None:
    card = read_card(folder / "card.json")
    assert (card.publishable, card.license, card.reasons) == (True, "mit", ())
    assert [one.file for one in card.files if one.chosen] == ["student-Q8_0.table"]
    assert [one.file for one in card.files] == ["student-F16.table", "student-Q8_0.table"]
    assert (folder / "README.md").read_text().startswith("---\nlicense: mit\n")
    assert verify(folder) == []


def test_the_sums_are_what_sha256sum_reads(folder: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=True)
    names = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert names == {path.name for path in folder.iterdir()} - {"SHA256SUMS", "README.md", "manifest.json"}
    data = bytearray((folder / "student-F16.table").read_bytes())
    data[3] ^= 1
    (folder / "student-F16.table").write_bytes(data)
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)
    assert "student-F16.table: FAILED" in done.stdout


def test_what_is_measured_is_told_and_everything_still_holds(folder: Path) -> None:
    before = read_manifest(folder) or {}
    (folder / "Modelfile").unlink(missing_ok=True)
    measured(folder)
    card = read_card(folder / "card.json")
    assert card.files[1].scores["test"]["exact"] == FIGURE
    assert card.files[1].chosen
    assert "0.500 [0.400, 0.600]" in (folder / "README.md").read_text()
    assert verify(folder) == []
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)
    after = read_manifest(folder) or {}
    assert (after["key"], after["finished"], after["results"]) == (before["key"], before["finished"], before["results"])


def test_nothing_is_written_where_nothing_changed(folder: Path) -> None:
    measured(folder)
    inodes = {path.name: path.stat().st_ino for path in folder.iterdir()}
    measured(folder)
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == inodes


def test_the_modelfile_takes_the_chosen_file(tmp_path: Path, folder: Path) -> None:
    from pillm.amending import amend
    from pillm.files import write_text

    with amend(folder, "export") as work:
        write_text(work / "Modelfile", "# FROM ./not-this\nFROM ./student-F16.table\nPARAMETER temperature 0\n")
    for _ in range(2):
        measured(folder)
        assert (folder / "Modelfile").read_text() == (
            "# FROM ./not-this\n# It takes this file: it was scored.\nFROM ./student-Q8_0.table\nPARAMETER temperature 0\n"
        )
    refresh(folder, (), ())
    assert (
        "# It takes this file: the least rounded of the quantised files; nothing was measured"
        in (folder / "Modelfile").read_text()
    )


def test_a_readme_that_a_person_changed_keeps_the_sums_true(folder: Path) -> None:
    (folder / "README.md").write_text("# Mine")
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)


def test_damaged_sums_are_written_anew(folder: Path) -> None:
    whole = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text("0000  student-F16.table\n")
    refresh(folder, (), ())
    assert (folder / "SHA256SUMS").read_text() == whole
    assert verify(folder) == []


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="holds no finished export"):
        refresh(tmp_path / "train", (), ())
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "card_version": 9}))
    with pytest.raises(DataError, match="is not a model's card"):
        refresh(folder, (), ())
