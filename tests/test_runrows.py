"""The rows of a run are filtered, split and checked before anything is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pillm.errors import ConfigError
from pillm.recipe import load_recipe
from pillm.runrows import RunRows, rows_of
from pillm.testing import FAKES, installed_plugin

RECIPE = """
prompts: rows.jsonl
teacher: {use: echo}
trainer: {use: table}
exporter: {use: table}
runner: {use: table}
checkpoint_runner: {use: table}
filters: [{use: drop, word: secret}]
evaluate: {metrics: [exact, json, schema, fields, shortness], sets: {more: more.jsonl}}
"""
ROWS = [
    {"id": "a", "user": "one", "split": "train"},
    {"id": "b", "user": "two", "split": "validation"},
    {"id": "c", "user": "three", "split": "calibration"},
    {"id": "d", "user": "four", "split": "test"},
    {"id": "e", "user": "five", "split": "test"},
    {"id": "f", "user": "a secret"},
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path) -> Iterator[None]:
    write(tmp_path / "rows.jsonl", *ROWS)
    write(tmp_path / "more.jsonl", {"id": "m", "user": "four"}, {"id": "n", "user": "secret one"})
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with installed_plugin(tmp_path / "site", "fakes", FAKES):
        yield


def write(path: Path, *rows: dict[str, object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def take(tmp_path: Path, *overrides: str) -> RunRows:
    return rows_of(load_recipe(tmp_path / "recipe.yaml", overrides))


def test_the_sides_and_sets_hold_what_the_filters_leave_and_the_rest_is_counted(tmp_path: Path) -> None:
    found = take(tmp_path)
    assert {side: len(rows) for side, rows in found.sides.items()} == {
        "test": 2, "validation": 1, "calibration": 1, "train": 1,
    }  # fmt: skip
    assert {name: [row.id for row in rows] for name, rows in found.sets.items()} == {"test": ["d", "e"], "more": ["m"]}
    assert (found.filtered, found.notes) == (2, ())


def test_rows_beyond_max_rows_are_named_by_set(tmp_path: Path) -> None:
    found = take(tmp_path, "evaluate.max_rows=1")
    assert [len(rows) for rows in found.sets.values()] == [1, 1]
    assert found.notes == ("1 of 2 rows of set 'test' were not taken in: evaluate.max_rows is 1.",)


@pytest.mark.parametrize("said", ["one", "two", "three"])
def test_a_row_of_a_set_that_is_on_a_training_side_is_not_scored_and_named(tmp_path: Path, said: str) -> None:
    write(tmp_path / "more.jsonl", {"id": "m", "user": "four"}, {"id": "x", "user": said}, {"id": "y", "user": said})
    found = take(tmp_path)
    assert [row.id for row in found.sets["more"]] == ["m"]
    assert found.notes == ("2 of 3 rows of set 'more' are trained on and not scored: x, y.",)
    assert found.filtered == 1 + 2


def test_a_set_may_repeat_held_out_rows(tmp_path: Path) -> None:
    write(tmp_path / "more.jsonl", {"id": "m", "user": "four"})
    assert len(take(tmp_path).sets["more"]) == 1


@pytest.mark.parametrize("metric", ["json", "schema", "fields"])
def test_a_gate_on_a_metric_that_applies_to_no_held_out_row_is_refused(tmp_path: Path, metric: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"recipe\.yaml: gates: '{metric} >= 0\.5': .* applies to none of the 2 held-out rows"
    ):
        take(tmp_path, f"gates.{metric}=0.5")
    write(tmp_path / "rows.jsonl", *ROWS[:4], {**ROWS[4], "schema": {"type": "object"}})
    assert take(tmp_path, f"gates.{metric}=0.5")


def test_gates_on_scores_need_held_out_rows_and_those_on_speed_and_size_do_not(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", *ROWS[:3])
    for gate in ("exact=0.5", "shortness=0.9 of teacher"):
        with pytest.raises(ConfigError, match=r"recipe\.yaml: gates: .* needs held-out rows.*Set split\.test"):
            take(tmp_path, f"gates.{gate}")
    assert take(tmp_path, "gates.tg_tps=8", "gates.bytes=1e6").sets
