"""Publishing a run: what goes out, and what holds it back."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import pillm
from pillm.store import Lineage, write_manifest
from pillm.testing import EchoTeacher, installed_plugin
from pillm.testing.fakes import TableExporter, TableTrainer
from pillm.testing.shelf import SHELF

CARD = {"publishable": True, "reasons": []}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Write a run that exported two files, with a card."""
    export = tmp_path / "run" / "export"
    export.mkdir(parents=True)
    for name in ("student-F16.table", "student-Q8_0.table"):
        (export / name).write_text(f"TABLE {name}")
    (export / "contract.json").write_text("{}")
    (export / "README.md").write_text("# Student")
    (export.parent / "recipe.yaml").write_text("secret: path")
    write(export.parent, CARD)
    return export.parent


def write(run: Path, card: object) -> None:
    """Write a card, vouched for."""
    (run / "export" / "card.json").write_text(json.dumps(card))
    write_manifest(run / "export", Lineage(verb="export", key="k"))


def made(folder: Path) -> list[pillm.ModelFile]:
    """Label, train and export three rows, verb by verb."""
    rows = [
        pillm.Prompt(id=f"r{n}", messages=({"role": "user", "content": f"say {n}"},), license="MIT", source="d")
        for n in range(3)
    ]
    labelled = pillm.label(rows, EchoTeacher(), folder / "label")
    checkpoint = pillm.train(labelled, TableTrainer(), folder / "train")
    told = {"license": "mit", "terms": {"teacher": "isc"}}
    return pillm.export(replace(checkpoint, told=told), TableExporter(), folder / "export")


def test_a_release_holds_the_exported_files_and_the_card_and_nothing_else(run: Path) -> None:
    found = pillm.prepare_release(run, "acme/student")
    assert [file.name for file in found.files] == [
        "README.md", "card.json", "contract.json", "student-F16.table", "student-Q8_0.table",
    ]  # fmt: skip
    assert all(pillm.sha256_file(file.path) == file.sha256 for file in found.files)
    assert (found.public, found.message, found.tag) == (False, "Upload run with pillm", "")


def test_the_folder_of_an_export_is_enough(run: Path) -> None:
    assert len(pillm.prepare_release(run / "export", "acme/student").files) == 5


def test_what_a_person_changed_or_added_goes_out_too(run: Path) -> None:
    (run / "export" / "README.md").write_text("# My student")
    (run / "export" / "LICENSE").write_text("MIT")
    (run / "NOTICE").write_text("Thanks")
    found = {file.name: file.path for file in pillm.prepare_release(run, "acme/student").files}
    assert found["README.md"].read_text() == "# My student"
    assert (found["LICENSE"], found["NOTICE"]) == (run / "export" / "LICENSE", run / "NOTICE")


def test_a_card_that_does_not_allow_it_holds_everything_back_with_its_reasons(run: Path) -> None:
    write(run, {"publishable": False, "reasons": ["the teacher's terms forbid it.", "the base has no licence"]})
    with pytest.raises(pillm.GateError, match="may not be published: the teacher's terms forbid it; the base has no licence"):
        pillm.prepare_release(run, "acme/student")


@pytest.mark.parametrize("card", [{}, {"publishable": "yes"}, {"publishable": 1, "reasons": "no list"}, {"publishable": None}])
def test_a_card_that_does_not_say_yes_says_no(run: Path, card: object) -> None:
    write(run, card)
    with pytest.raises(pillm.GateError, match="gives no reason"):
        pillm.prepare_release(run, "acme/student")


@pytest.mark.parametrize("name", ["card.json", "SHA256SUMS", "student-F16.table"])
@pytest.mark.parametrize("broken", [None, "{", "[]"])
def test_the_advice_for_what_is_lost_or_damaged_is_true(tmp_path: Path, name: str, broken: str | None) -> None:
    made(tmp_path)
    path = tmp_path / "export" / name
    whole = path.read_bytes()
    path.unlink() if broken is None else path.write_text(broken)
    with pytest.raises(pillm.PillmError, match=rf"{name}.*Make the export anew: the command that made it"):
        pillm.prepare_release(tmp_path, "acme/student")
    made(tmp_path)
    assert path.read_bytes() == whole
    assert name in [file.name for file in pillm.prepare_release(tmp_path, "acme/student").files]


def test_a_readme_may_be_edited_and_the_sums_still_hold_on_the_other_side(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "export" / "README.md").write_text("# Mine")
    release = pillm.prepare_release(tmp_path, "acme/student")
    there = tmp_path / "there"
    there.mkdir()
    for file in release.files:
        shutil.copyfile(file.path, there / file.name)
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"], cwd=there, check=True)
    assert (there / "README.md").read_text() == "# Mine"


def test_a_file_that_is_not_what_was_made_is_not_published(run: Path) -> None:
    (run / "export" / "student-Q8_0.table").write_text("another")
    with pytest.raises(pillm.StorageError, match=r"student-Q8_0\.table was changed"):
        pillm.prepare_release(run, "acme/student")


def test_a_card_that_was_changed_by_hand_is_not_believed(run: Path) -> None:
    write(run, {"publishable": False, "reasons": ["no licence"]})
    (run / "export" / "card.json").write_text(json.dumps(CARD))
    with pytest.raises(pillm.StorageError, match=r"card\.json was changed"):
        pillm.prepare_release(run, "acme/student")


def test_a_card_is_read_where_it_is_written_and_nowhere_else(run: Path) -> None:
    (run / "card.json").write_text(json.dumps(CARD))
    write(run, {"publishable": False, "reasons": ["no licence"]})
    with pytest.raises(pillm.GateError, match="no licence"):
        pillm.prepare_release(run, "acme/student")


def test_sums_that_do_not_fit_are_not_published(run: Path) -> None:
    right = pillm.sha256_file(run / "export" / "student-F16.table")
    (run / "export" / "SHA256SUMS").write_text(f"{right}  student-F16.table\n{right} *./student-Q8_0.table\n")
    write(run, CARD)
    with pytest.raises(pillm.StorageError, match="not the file that SHA256SUMS lists"):
        pillm.prepare_release(run, "acme/student")
    (run / "export" / "SHA256SUMS").write_text(f"{right}  student-F16.table\n")
    write(run, CARD)
    assert "SHA256SUMS" in [file.name for file in pillm.prepare_release(run, "acme/student").files]


def test_where_nothing_was_exported_there_is_nothing_to_publish(tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match="no finished export"):
        pillm.prepare_release(tmp_path, "acme/student")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install a publisher."""
    monkeypatch.setenv("PILLM_SHELF", str(tmp_path / "shelf"))
    monkeypatch.setenv("PILLM_PLUGINS", "shelf")
    with installed_plugin(tmp_path / "plugin", "shelf", SHELF):
        yield tmp_path / "shelf"


def test_a_push_tells_what_was_sent_and_a_second_one_sends_nothing(run: Path, shelf: Path) -> None:
    events: list[pillm.Event] = []
    release = pillm.prepare_release(run, "acme/student", tag="v1")
    publisher = pillm.publisher("shelf")
    done = pillm.push(release, publisher, progress=pillm.Progress("push", (events.append,)))
    assert (done.files, done.sent, done.tag) == (5, 5, "v1")
    assert (shelf / "acme" / "student" / "student-F16.table").read_text() == "TABLE student-F16.table"
    assert "5 of them sent" in events[-1].message
    assert pillm.push(release, publisher).sent == 0
