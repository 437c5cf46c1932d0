"""A run tells its files what was measured of them, at its end and whenever it is asked again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pillm.artifacts import Checkpoint
from pillm.cards.card import read_card
from pillm.errors import DataError
from pillm.pipeline import run
from pillm.progress import Event, Progress
from pillm.recipe import load_recipe
from pillm.results import tell_again
from pillm.stages.exporting import export
from pillm.testing import FAKES, installed_plugin
from pillm.testing.fakes import TableExporter
from pillm.verification import verify

RECIPE = """
prompts: rows.jsonl
seed: 1
split: {test: 8, validation: 2, calibration: 2}
teacher: {use: echo}
trainer: {use: table}
exporter: {use: table, quants: [F16, Q8_0]}
runner: {use: table}
checkpoint_runner: {use: table}
evaluate: {metrics: [exact]}
bench: {pp: 8, tg: 8, repetitions: 1}
terms: {license: MIT, teacher: isc, data: CC0-1.0}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a finished run."""
    rows = [{"id": f"r{n}", "user": f"say {n // 2}", "group": f"g{n // 2}", "language": "en"} for n in range(24)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with installed_plugin(tmp_path / "site", "fakes", FAKES):
        go(tmp_path)
        yield tmp_path / "run"


def go(tmp_path: Path, *overrides: str) -> list[Event]:
    events: list[Event] = []
    run(load_recipe(tmp_path / "recipe.yaml", overrides), tmp_path / "run", progress=Progress("", (events.append,)))
    return events


def test_the_card_of_a_run_has_scores_speeds_and_terms(folder: Path) -> None:
    card = read_card(folder / "export" / "card.json")
    assert card.publishable
    assert card.license == "MIT"
    assert {one.kind for one in card.compared} == {"teacher", "checkpoint"}
    assert all(one.scores["test"]["exact"].rows == 8 and one.speeds[0].basis == "measured" for one in card.files)
    assert sum(one.chosen for one in card.files) == 1
    assert verify(folder) == []


def test_a_second_run_leaves_everything_as_it_is(folder: Path) -> None:
    before = (folder / "export" / "manifest.json").read_bytes(), (folder / "manifest.json").read_bytes()
    events = go(folder.parent)
    assert {event.kind for event in events if event.kind in ("finish", "up-to-date")} == {"up-to-date"}
    assert ((folder / "export" / "manifest.json").read_bytes(), (folder / "manifest.json").read_bytes()) == before


def test_terms_that_change_make_the_export_anew_and_nothing_before_it(folder: Path) -> None:
    ended = {
        event.stage: event.kind for event in go(folder.parent, "terms.teacher=none") if event.kind in ("finish", "up-to-date")
    }
    assert (ended["label"], ended["train"], ended["export"]) == ("up-to-date", "up-to-date", "finish")
    card = read_card(folder / "export" / "card.json")
    assert not card.publishable
    assert "the terms of the teacher echo are not known" in card.reasons[0]


def test_a_card_that_was_lost_is_written_again_with_what_was_measured(folder: Path) -> None:
    whole = (folder / "export" / "README.md").read_text()
    (folder / "export" / "README.md").write_text("lost")
    where, card = tell_again(folder)
    assert where == folder / "export"
    assert card.files[0].scores
    assert (folder / "export" / "README.md").read_text() == whole
    assert verify(folder) == []


def test_an_export_by_itself_has_a_card_too(folder: Path) -> None:
    told = Checkpoint(path=folder / "train", name="x")
    export(told, TableExporter(), folder.parent / "alone")
    where, card = tell_again(folder.parent / "alone")
    assert (where.name, [one.file for one in card.files]) == ("alone", ["student-F16.table"])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no report\.json"):
        tell_again(tmp_path)
    (tmp_path / "report.json").write_text('{"evaluations": 1, "benchmarks": []}')
    with pytest.raises(DataError, match=r"holds no report\.json"):
        tell_again(tmp_path)


def test_a_void_measurement_is_marked_in_the_card_whenever_it_is_written(folder: Path) -> None:
    path = folder / "report.json"
    report = json.loads(path.read_text())
    report["benchmarks"][0]["void"] = ["the clock fell from 1800 to 600 MHz"]
    path.write_text(json.dumps(report))
    _, card = tell_again(folder)
    assert sorted(one.speeds[0].void for one in card.files)[-1] == ("the clock fell from 1800 to 600 MHz",)
    written = json.loads((folder / "export" / "card.json").read_text())
    assert sum(bool(one["speeds"][0]["void"]) for one in written["files"]) == 1
    assert (folder / "export" / "README.md").read_text().count("measured, void") == 1
