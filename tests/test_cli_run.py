"""`pillm run`, with the fake backends: a whole recipe in a second."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.plugins import registry
from pillm.testing import installed_plugin

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


SHAKEN = """
from dataclasses import replace
from pathlib import Path

import pillm
from pillm.testing import TableRunner

class Shaken(TableRunner):
    '''Times tables, on a machine that is disturbed as long as a file says so.'''

    name = "shaken"

    def open(self, model):
        session = super().open(model)
        timed, wide = session.bench, (Path(__file__).parent / "busy").exists()
        session.bench = lambda plan: replace(timed(plan), samples={"pp_tps": [100.0, 130.0 if wide else 100.0]})
        return session

@pillm.hookimpl
def pillm_runners():
    return [Shaken]
"""


def test_a_gate_on_a_void_measurement_is_not_judged_and_the_same_command_measures_again(
    cli: Cli, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "fakes,shaken")
    words = ("run", recipe, "--out", tmp_path / "run", "--set", "bench_runner.use=shaken", "--set", "gates.tg_tps=1")
    with installed_plugin(tmp_path / "shaken", "shaken", SHAKEN):
        (busy := tmp_path / "shaken" / "busy").touch()
        void = cli(*words)
        missed = cli(*words, "--set", "gates.exact=1.0")
        allowed = cli(*words, "--set", "bench.max_spread=0.5")
        json_ = cli(*words, "--json").json
        busy.unlink()
        quiet = cli(*words)
    assert void.code == 5
    assert (
        "2 gates were not judged, for the machine was disturbed. student-F16.table: tg_tps >= 1 was not judged: its "
        in void.err
    )
    assert "more than 1.0%" in void.err
    assert "(void)" in void.out
    assert missed.code == 3
    assert "gates were not met, and 2 were not judged" in missed.err
    assert allowed.code == 0, allowed.err
    assert [gate["met"] for gate in json_["gates"]] == [None, None]
    assert all("is void" in gate["reason"] for gate in json_["gates"])
    assert quiet.code == 0, quiet.err
    assert "not judged" not in (tmp_path / "run" / "report.md").read_text()


HEAVY = {"torch", "transformers", "numpy", "llama_cpp", "gguf", "peft", "bitsandbytes", "sympy"}
_LOADED = "import sys; from pillm.cli.program import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"


@pytest.mark.parametrize("words", [(), ("--set", "trainer.learning_rat=1"), ("--set", "gates.exakt=1")])
def test_neither_a_dry_run_nor_a_wrong_recipe_loads_anything_heavy(words: tuple[str, ...]) -> None:
    recipe = Path(__file__).parents[1] / "examples" / "quickstart.yaml"
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, "run", str(recipe), "--dry-run", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == (2 if words else 0), done.stderr[-500:]
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "pillm.recipe" in loaded
    assert not loaded & HEAVY


def test_timing_belongs_to_a_dry_run(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    assert "say --dry-run too" in cli("run", recipe, "--out", tmp_path / "run", "--timed").err
    assert cli("run", recipe, "--out", tmp_path / "run", "--timed", "--dry-run").code == 0


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
