"""A run is the verbs in a row: whole, resumable, verifiable."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.backends import TrainingData
from pillm.errors import ConfigError, DataError, PillmError
from pillm.pipeline import RunResult, run
from pillm.progress import Event, Progress
from pillm.recipe import load_recipe
from pillm.testing import installed_plugin
from pillm.testing.fakes import TableTrainer, rendered
from pillm.verification import verify
from tests.recipes import RECIPE, go

pytestmark = pytest.mark.usefixtures("recipe_folder")


def test_a_run_makes_every_stage_and_a_report_that_balances(tmp_path: Path) -> None:
    result = go(tmp_path)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert result.report == report
    rows = report["rows"]
    assert rows["in"] == rows["answered"] + rows["rejected"] + rows["failed"] + rows["pending"] == 25
    assert {(one["kind"], one["set"]) for one in report["evaluations"]} == {
        *((kind, name) for kind in ("teacher", "checkpoint", "model") for name in ("test", "handwritten")),
        ("model", "validation"),
    }
    assert report["pick"]["by"] == "validation"
    assert {model["quant"] for model in report["models"]} == {"F16", "Q8_0"}
    assert {one["basis"] for one in report["benchmarks"]} == {"measured"}
    assert report["training"]["steps"] == report["training"]["rows"] == len(report["training"]["loss"])
    assert "## Training" in (tmp_path / "run" / "report.md").read_text()
    for name in ("recipe.yaml", "report.md", "report.html", "events.jsonl"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    assert result.gates_met


@pytest.mark.parametrize(
    ("override", "by", "words"),
    [
        ("split.validation=0", "reported", "the very rows that are reported"),
        ("exporter.quants=[F16]", "only", "it is the only file"),
        ("evaluate.max_rows=1", "validation", "on the validation rows"),
    ],
)
def test_the_file_to_take_is_chosen_on_no_row_that_is_reported_or_the_report_says_so(
    tmp_path: Path, override: str, by: str, words: str
) -> None:
    report = go(tmp_path, override).report
    assert report["pick"]["by"] == by
    assert any(one["set"] == "validation" for one in report["evaluations"]) is (by == "validation")
    assert all(one["rows"] <= 2 for one in report["evaluations"] if one["set"] == "validation")
    for text in ("report.md", "report.html", "export/README.md"):
        assert words in (tmp_path / "run" / text).read_text(), text


def test_a_gate_that_is_not_met_is_reported_with_its_figures(tmp_path: Path) -> None:
    result = go(tmp_path, "gates.exact=1.5 of teacher")
    assert not result.gates_met
    assert {gate["model"] for gate in result.report["gates"]} == {"student-F16.table", "student-Q8_0.table"}


def test_a_runner_that_cannot_read_the_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with pytest.raises(PillmError, match=r"runner 'table'|runner"):
        recipe = load_recipe(tmp_path / "recipe.yaml")
        object.__setattr__(
            recipe, "runner", type("Other", (type(recipe.runner),), {"reads": frozenset({"gguf"}), "name": "other"})()
        )
        run(recipe, tmp_path / "run")


def test_filters_reach_every_set_and_what_they_leave_out_is_counted(tmp_path: Path) -> None:
    result = go(tmp_path, "filters=[{use: drop, word: say 0}]")
    rows = result.report["rows"]
    assert rows["rejected"] == 3  # one of them of the further set
    assert rows["in"] == 25
    assert rows["in"] == rows["answered"] + rows["rejected"]
    assert not any(b"say 0" in path.read_bytes() for path in (tmp_path / "run").rglob("answers.sqlite"))


def test_rows_that_max_rows_cuts_are_not_taken_in_and_the_report_says_so(tmp_path: Path) -> None:
    report = go(tmp_path, "evaluate.max_rows=1").report
    rows = report["rows"]
    assert rows["in"] == rows["answered"] == 20 + 1 + 1
    assert report["notes"] == ["3 of 4 rows of set 'test' were not taken in: evaluate.max_rows is 1."]
    assert "3 of 4 rows of set 'test' were not taken in" in (tmp_path / "run" / "report.md").read_text()


def test_a_gate_without_held_out_rows_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'exact >= 0' needs held-out rows, and there are none\. Set split\.test"):
        go(tmp_path, "split.test=0")
    assert not (tmp_path / "run").exists()


UNTOLD = '''
import pillm

class Never(pillm.Metric):
    """Applies to no row, and says so only when it scores."""

    name = "never"

    def score(self, prompt, answer):
        return None

@pillm.hookimpl
def pillm_metrics():
    return [Never]
'''


def test_a_gate_that_nobody_could_check_is_not_met_and_the_report_stands(tmp_path: Path) -> None:
    with installed_plugin(tmp_path / "untold", "untold", UNTOLD):
        result = go(tmp_path, "evaluate.metrics=exact,never", "gates.never=0.5")
    assert not result.gates_met
    unchecked = [gate for gate in result.report["gates"] if gate["reason"]]
    assert len(unchecked) == 2
    assert "metric 'never' applied to no held-out row" in unchecked[0]["reason"]
    assert "applied to no held-out row" in (tmp_path / "run" / "report.html").read_text()
    assert "applied to no held-out row" in (tmp_path / "run" / "report.md").read_text()


def test_a_broken_schema_in_any_row_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with (tmp_path / "handwritten.jsonl").open("a") as file:
        file.write('{"id": "h2", "user": "say", "schema": {"$ref": "#"}}\n')
    with pytest.raises(DataError, match=r"^handwritten\.jsonl:2: the schema refers to itself without end"):
        go(tmp_path)
    assert not (tmp_path / "run").exists()


def test_an_unknown_device_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pi4-4gb"):
        go(tmp_path, "device=pi4-4bg")
    assert not (tmp_path / "run" / "label").exists()


def test_a_run_into_the_recipes_own_folder_leaves_the_recipe_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    monkeypatch.chdir(tmp_path)
    for out in (".", tmp_path, "run/.."):
        with pytest.raises(ConfigError, match=r"the recipe itself lies in .*Choose another --out"):
            run(load_recipe("recipe.yaml"), out)
    with pytest.raises(ConfigError, match="was not made by pillm"):
        run(load_recipe("recipe.yaml", ["seed=2"]), tmp_path / "site")
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_run_in_the_folder_it_is_called_in_is_made_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert run(load_recipe("../recipe.yaml"), ".").report == run(load_recipe("../recipe.yaml"), ".").report
    assert verify(".") == []


class Merging(TableTrainer):
    """Leaves an adapter that knows every answer, and a merged student that lost them."""

    name: ClassVar[str] = "merging"

    def train(self, data: TrainingData, out: Path, progress: Progress) -> None:
        super().train(data, out, progress)
        (out / "adapter").mkdir(exist_ok=True)
        shutil.copyfile(out / "config.json", out / "adapter" / "config.json")
        known = {rendered(data.contract.messages(prompt)): prompt.text for prompt in data.probes}
        (out / "adapter" / "table.json").write_text(json.dumps(known))
        (out / "adapter" / "adapter_config.json").write_text("{}")
        (out / "table.json").write_text("{}")


def witnessed(tmp_path: Path, *overrides: str, readers: tuple[object, ...] = ()) -> RunResult:
    """Run with a trainer that merges wrongly."""
    rows = [{"id": f"r{i}", "user": f"say {i}"} for i in range(48)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = ("split.by=id", "split.test=12", *overrides)
    recipe = replace(load_recipe(tmp_path / "recipe.yaml", told), trainer=Merging())
    return run(recipe, tmp_path / "run", progress=Progress("", readers))  # type: ignore[arg-type]


def test_a_merge_that_lost_the_students_skill_is_blamed_on_the_merge(tmp_path: Path) -> None:
    report = witnessed(tmp_path).report
    assert [(one["stage"], one["from"], one["to"]) for one in report["lost"]["stages"]] == [("merge", "adapter", "checkpoint")]
    assert report["lost"]["sentence"] == "Most was lost when the adapter was merged (checkpoint: −1.000 exact)."
    assert "when the adapter was merged" in (tmp_path / "run" / "report.md").read_text()
    assert "when the adapter was merged" in (tmp_path / "run" / "report.html").read_text()
    assert verify(tmp_path / "run") == []


def test_files_are_scored_on_their_device_where_a_runner_answers_there(tmp_path: Path) -> None:
    report = witnessed(tmp_path, "bench_runner.use=table").report
    there = [one for one in report["evaluations"] if one["kind"] == "device"]
    assert [(one["quant"], one["rows"]) for one in there] == [("F16", 12), ("Q8_0", 12)]
    assert [step["from"] for step in report["ladder"] if step["stage"] == "device"] == [one["subject"] for one in there]


def test_an_adapter_that_cannot_be_scored_is_said_and_the_run_is_whole(tmp_path: Path) -> None:
    class Broken(Merging):
        name: ClassVar[str] = "broken"

        def train(self, data: TrainingData, out: Path, progress: Progress) -> None:
            super().train(data, out, progress)
            (out / "adapter" / "table.json").write_text("{")

    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("gates: {exact: 0.0}", ""))
    events: list[Event] = []
    recipe = replace(load_recipe(tmp_path / "recipe.yaml"), trainer=Broken())
    result = run(recipe, tmp_path / "run", progress=Progress("", (events.append,)))
    assert result.report["evaluations"]
    assert any("adapter adapter was not scored" in event.message for event in events if event.kind == "warning")
