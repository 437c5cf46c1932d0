"""`pillm push`: says what it would do, and does it only when it is told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.store import Lineage, write_manifest
from pillm.testing import installed_plugin
from pillm.testing.shelf import SHELF

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install a publisher."""
    (tmp_path / "shelf").mkdir()
    monkeypatch.setenv("PILLM_SHELF", str(tmp_path / "shelf"))
    monkeypatch.setenv("PILLM_PLUGINS", "shelf")
    with installed_plugin(tmp_path / "plugin", "shelf", SHELF):
        yield tmp_path / "shelf"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Write a run that may be published."""
    export = tmp_path / "run" / "export"
    export.mkdir(parents=True)
    (export / "student-F16.table").write_bytes(b"GGUF" * 600)
    (export / "card.json").write_text('{"publishable": true}')
    write_manifest(export, Lineage(verb="export", key="k"))
    return export.parent


def test_without_a_yes_nothing_is_sent_and_everything_is_said(cli: Cli, shelf: Path, run: Path) -> None:
    done = cli("push", run, "acme/student", "--publisher", "shelf")
    assert done.code == 0
    for words in ("student-F16.table", "2.4 kB", "new", "2 files", "acme/student (private, to be made)", "Say --yes"):
        assert words in done.out
    found = cli("push", run, "acme/student", "--publisher", "shelf", "--public", "--json").json
    assert (found["sent"], found["public"], found["exists"]) == (False, True, False)
    assert {file["state"] for file in found["files"]} == {"new"}
    assert not list(shelf.iterdir())


def test_with_a_yes_it_is_sent(cli: Cli, shelf: Path, run: Path) -> None:
    done = cli("push", run, "acme/student", "--publisher", "shelf", "--tag", "v1", "--yes", "--json")
    assert done.code == 0, done.err
    assert (done.json["files"], done.json["sent"], done.json["public"], done.json["tag"]) == (2, 2, False, "v1")
    assert (shelf / "acme/student/student-F16.table").read_bytes() == b"GGUF" * 600
    assert "2 files at" in done.err
    again = cli("push", run, "acme/student", "--publisher", "shelf", "--yes")
    assert "(private, commit " in again.out
    assert "0 of them sent" in again.err


def test_a_place_that_cannot_be_asked_does_not_stop_the_look_but_the_sending(cli: Cli, shelf: Path, run: Path) -> None:
    (shelf / "closed").touch()
    done = cli("push", run, "acme/student", "--publisher", "shelf")
    assert done.code == 0
    assert "not known yet: the shelf is closed" in done.out
    assert cli("push", run, "acme/student", "--publisher", "shelf", "--yes").code == 5


def test_a_card_that_forbids_it_ends_with_3_and_its_reasons(cli: Cli, shelf: Path, run: Path) -> None:
    (run / "export" / "card.json").write_text(json.dumps({"publishable": False, "reasons": ["no licence for the data"]}))
    write_manifest(run / "export", Lineage(verb="export", key="k"))
    for more in ([], ["--yes"]):
        done = cli("push", run, "acme/student", "--publisher", "shelf", *more)
        assert done.code == 3
        assert "no licence for the data" in done.err
    assert not list(shelf.iterdir())


def test_a_name_that_is_none_and_a_publisher_that_is_not_there_are_refused(cli: Cli, shelf: Path, run: Path) -> None:
    assert cli("push", run, "student", "--publisher", "shelf").code == 2
    assert cli("push", run, "acme/student", "--publisher", "moon").code == 2
