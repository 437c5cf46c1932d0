"""`pillm run`, with the fake backends: a whole recipe in a second."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.plugins import registry

if TYPE_CHECKING:
    from tests.conftest import Cli

RECIPE = """
prompts: rows.jsonl
split: {test: 1}
teacher: {use: echo}
trainer: {use: table}
exporter: {use: table, quants: [F16, Q8_0]}
runner: {use: table}
checkpoint_runner: {use: table}
"""


@pytest.fixture
def recipe(fakes: Path, rows: Path) -> Path:
    """Write a recipe beside the three rows."""
    path = rows.parent / "small.yaml"
    path.write_text(RECIPE, "utf-8")
    return path


def test_a_recipe_runs_to_its_report(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    done = cli("run", recipe, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "3 rows = 3 answered" in done.out
    assert "student-Q8_0.table" in done.out
    assert "report.html" in done.out
    for name in ("report.json", "report.md", "report.html", "recipe.yaml", "events.jsonl", "pillm.log", "manifest.json"):
        assert (tmp_path / "run" / name).is_file(), name
    assert "train: finish" in (tmp_path / "run" / "pillm.log").read_text("utf-8")


def test_what_to_ask_again_is_a_word_of_two(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    done = cli("run", recipe, "--out", tmp_path / "run", "--retry", "lost")
    assert done.code == 2
    assert "lost is not one of failed, rejected" in done.err
    assert cli("run", recipe, "--out", tmp_path / "run", "--retry", "failed,rejected", "--dry-run").code == 0


def test_json_is_the_report(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    done = cli("run", recipe, "--out", tmp_path / "run", "--json")
    assert done.json["rows"] == {"in": 3, "answered": 3, "rejected": 0, "failed": 0, "pending": 0}


def test_a_second_run_says_that_every_stage_is_up_to_date(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    cli("run", recipe, "--out", tmp_path / "run")
    again = cli("run", recipe, "--out", tmp_path / "run")
    assert again.err.count("up to date") >= 5
    assert "done in" not in again.err


def test_one_training_option_trains_anew_and_never_labels(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    cli("run", recipe, "--out", tmp_path / "run")
    again = cli("run", recipe, "--out", tmp_path / "run", "--set", "trainer.upper=true")
    assert "label: up to date" in again.err
    assert "train: done" in again.err
    tuned = cli("run", recipe, "--out", tmp_path / "run", "--set", "trainer.upper=true", "--set", "teacher.window=3")
    assert "report: done" in tuned.err
    assert tuned.err.count("done in") == 1  # the report names the resolved recipe


def test_v_says_what_was_decided_and_vv_every_option(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    first = cli("run", recipe, "--out", tmp_path / "run", "-v").err
    assert "info: recipe small.yaml: teacher echo, trainer table, exporter table" in first
    assert f"info: run folder {tmp_path / 'run'}" in first
    assert "info: train: made anew" in first
    assert "debug: " not in first
    registry.cache_clear()
    again = cli("run", recipe, "--out", tmp_path / "run", "-vv").err
    assert "info: train: its result stands: nothing it depends on changed" in again
    assert "debug: trainer: {'use': 'table', 'upper': False}" in again
    assert "debug: plugin 'fakes' (pillm-fakes 1.0) was loaded in" in again
    assert "info: " not in cli("run", recipe, "--out", tmp_path / "run").err


def test_q_leaves_warnings_and_qq_errors_alone(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    unscored = ("run", recipe, "--set", "split.test=0", "--out")
    assert "warning: no rows are held out" in cli(*unscored, tmp_path / "q", "-q").err
    assert cli(*unscored, tmp_path / "qq", "-qq").err == ""
    assert cli("run", recipe, "--set", "split.test=99", "-qq").err.startswith("Error: ")


def test_a_dry_run_prints_everything_and_touches_nothing(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = cli("run", recipe, "--out", tmp_path / "run", "--dry-run", "--set", "trainer.upper=true")
    assert done.code == 0
    for word in ("upper: true", "train 2", "MB free", "to do", "Nothing was asked"):
        assert word in done.out, word
    assert sorted(tmp_path.rglob("*")) == before
    assert cli("run", recipe, "--dry-run", "--json").json["rows"]["train"] == 2


def test_a_gate_that_is_not_met_ends_with_3_and_keeps_the_report(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    done = cli("run", recipe, "--out", tmp_path / "run", "--set", "gates.exact=1.0")
    assert done.code == 3
    assert "exact >= 1" in done.err
    assert (tmp_path / "run" / "report.html").is_file()


WRONG = {
    "trainer.uper=true": "Did you mean 'upper'?",
    "trainer.use=tabel": "Did you mean 'table'?",
    "spilt.test=1": "spilt",
    "device=pi9": "pi9",
    "split.test=99": "test",
    "gates.exact=high": "high",
}


@pytest.mark.parametrize("change", WRONG)
def test_a_wrong_recipe_fails_before_anything_is_written(cli: Cli, recipe: Path, tmp_path: Path, change: str) -> None:
    done = cli("run", recipe, "--out", tmp_path / "run", "--set", change)
    assert done.code == 2
    assert done.err.startswith("Error: ")
    assert WRONG[change] in done.err
    assert not (tmp_path / "run" / "label").exists()


def test_yaml_that_is_none_is_named_with_its_line(cli: Cli, recipe: Path) -> None:
    recipe.write_text("prompts: x\nteacher: {use: [\n", "utf-8")
    done = cli("run", recipe)
    assert done.code == 2
    assert "small.yaml: " in done.err
    assert "line" in done.err


def test_a_run_that_another_process_holds_is_refused(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    from pillm.files import lock

    with lock(tmp_path / "run" / ".lock"):
        done = cli("run", recipe, "--out", tmp_path / "run")
    assert done.code == 5
    assert "in use" in done.err


def test_a_folder_that_is_refused_gets_not_even_a_log(cli: Cli, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = recipe.rename(recipe.with_name("recipe.yaml"))
    monkeypatch.chdir(own.parent)
    before = {path: path.read_bytes() for path in own.parent.iterdir() if path.is_file()}
    for words in (("--out", "."), ("--out", ".", "--dry-run")):
        done = cli("run", "recipe.yaml", *words)
        assert done.code == 2
        assert "the recipe itself lies in" in done.err
    assert {path: path.read_bytes() for path in own.parent.iterdir() if path.is_file()} == before
    assert cli("run", "recipe.yaml").code == 0
    assert (own.parent / "runs" / "recipe" / "report.json").is_file()
