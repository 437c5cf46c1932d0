"""A dry run says everything and touches nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pillm.cli.summary import rehearsal_lines
from pillm.errors import ConfigError
from pillm.pipeline import run
from pillm.recipe import load_recipe
from pillm.rehearsal import rehearse
from pillm.testing import FAKES, installed_plugin

RECIPE = """
prompts: rows.jsonl
split: {test: 4}
teacher: {use: echo}
trainer: {use: table}
exporter: {use: table}
runner: {use: table}
checkpoint_runner: {use: table}
evaluate: {metrics: [exact]}
bench: {pp: 8, tg: 8, repetitions: 1}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path) -> Iterator[None]:
    rows = [{"id": f"r{i}", "user": f"say {i}"} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with installed_plugin(tmp_path / "site", "fakes", FAKES):
        yield


def test_a_rehearsal_counts_rows_tokens_disk_and_stages_and_writes_nothing(tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    found = rehearse(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "run")
    assert (found.rows["train"], found.rows["test"], found.rows["set test"]) == (8, 4, 4)
    assert (found.label.to_ask, found.label.prompt_tokens) == (8, 16)
    assert [stage.stage for stage in found.stages] == ["label", "train", "export", "evaluate", "bench", "report"]
    assert found.held_out is not None
    assert (found.held_out.to_ask, found.held_out.prompt_tokens, found.held_out.stored) == (4, 8, 0)
    assert found.free_bytes > 0
    assert sorted(tmp_path.rglob("*")) == before
    json.dumps(found.to_json())


def test_after_a_run_it_knows_what_stands_and_how_long_it_took(tmp_path: Path) -> None:
    recipe = load_recipe(tmp_path / "recipe.yaml")
    run(recipe, tmp_path / "run")
    found = rehearse(recipe, tmp_path / "run")
    assert found.label.to_ask == 0
    assert found.held_out is not None
    assert (found.held_out.to_ask, found.held_out.stored) == (0, 4)
    assert {stage.basis for stage in found.stages} == {"last run"}


def test_the_further_sets_count_and_what_is_asked_twice_is_asked_once(tmp_path: Path) -> None:
    rows = [{"id": f"x{i}", "user": f"more {i % 3}", "assistant": "given"} for i in range(5)]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = load_recipe(tmp_path / "recipe.yaml", ["evaluate.sets.more=more.jsonl"])
    found = rehearse(recipe, tmp_path / "run")
    assert found.held_out is not None
    assert (found.held_out.to_ask, found.held_out.prompt_tokens) == (4 + 3, 8 + 6)  # an answer that came is not the teacher's


def test_new_rows_are_timed_by_the_rate_of_the_last_run(tmp_path: Path) -> None:
    run(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "run")
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"id": "new", "user": "say something new", "split": "train"}\n')
    label = rehearse(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "run").stages[0]
    assert (label.stage, label.state, label.basis) == ("label", "to do", "the last run's rate")
    assert label.seconds is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["split.test=0", "gates.exact=0.5"], "needs held-out rows"),
        (["evaluate.metrics=exact,json", "gates.json=0.5"], "metric 'json' applies to none of the 4 held-out rows"),
    ],
)
def test_a_rehearsal_refuses_a_gate_that_a_run_could_not_check(tmp_path: Path, changes: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rehearse(load_recipe(tmp_path / "recipe.yaml", changes), tmp_path / "run")


def test_a_rehearsal_names_the_rows_of_a_set_that_are_trained_on(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        '{"id": "a", "user": "say 1", "split": "train"}\n{"id": "b", "user": "two", "split": "test"}\n'
    )
    (tmp_path / "more.jsonl").write_text('{"id": "x", "user": "say 1"}\n')
    expected = rehearse(
        load_recipe(tmp_path / "recipe.yaml", ["split.test=1", "evaluate.sets.more=more.jsonl"]), tmp_path / "run"
    )
    assert "         1 of 1 rows of set 'more' are trained on and not scored: x." in rehearsal_lines(expected)


def test_it_counts_attempts_and_failures_as_a_run_would(tmp_path: Path) -> None:
    failing = load_recipe(tmp_path / "recipe.yaml", ["teacher.fails=say 0,say 1,say 2,say 3", "label.attempts=3"])
    first = rehearse(failing, tmp_path / "run").label
    assert (first.to_ask, first.calls, first.prompt_tokens) == (8, 24, 48)
    run(failing, tmp_path / "run")
    found = rehearse(failing, tmp_path / "run")
    assert found.held_out is not None
    failed = found.label.failed + found.held_out.failed
    assert (failed, found.label.to_ask, found.held_out.to_ask) == (4, 0, 0)
    again = rehearse(failing, tmp_path / "run", retry=frozenset({"failed", "rejected"}))
    assert again.held_out is not None
    assert again.label.to_ask + again.held_out.to_ask == 4
    assert any("failed for good (--retry failed asks again)" in line for line in rehearsal_lines(found))
    assert any("in at most 24 calls" in line for line in rehearsal_lines(replace(found, label=first)))


def test_what_nobody_knows_is_called_unknown(tmp_path: Path) -> None:
    lines = rehearsal_lines(rehearse(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "run"))
    assert "export   to do, time unknown" in lines
    assert any(line.startswith("disk     unknown needed") for line in lines)
    assert any(line.startswith("         to be scored: 4 rows to ask, about 8 prompt") for line in lines)


TELLING = '''
import pillm
from pydantic import Field
from pillm.testing import TableTrainer

class Telling(TableTrainer):
    """Tells what it would take."""

    name = "telling"
    free: int = Field(2**31, description="Bytes that are free.")
    refuse: bool = Field(False, description="Refuse the rows.")

    def forecast(self, data):
        if self.refuse:
            raise pillm.DataError("the rows are too long.")
        characters = sum(len(row.answer.content) for row in data.train)
        fits = self.free > 2**30
        return pillm.TrainingForecast(
            rows=len(data.train), steps=3, tokens=characters, memory_bytes=2**30, free_bytes=self.free,
            seconds=90.0 if fits else None, advice="" if fits else "It does not fit. Set less.",
        )

@pillm.hookimpl
def pillm_trainers():
    return [Telling]
'''


def test_a_rehearsal_tells_what_training_would_take_with_answers_assumed_where_none_came(tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "user": "say four", "split": "train", **({"assistant": "ok"} if i else {})} for i in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with installed_plugin(tmp_path / "telling", "telling", TELLING):
        words = ["trainer.use=telling", "split.test=0"]
        found = rehearse(load_recipe(tmp_path / "recipe.yaml", words), tmp_path / "run", timed=True)
        arithmetic = rehearse(load_recipe(tmp_path / "recipe.yaml", words), tmp_path / "run")
        short = rehearse(load_recipe(tmp_path / "recipe.yaml", [*words, "trainer.free=1000"]), tmp_path / "run", timed=True)
        refused = rehearse(load_recipe(tmp_path / "recipe.yaml", [*words, "trainer.refuse=true"]), tmp_path / "run", timed=True)
        run(load_recipe(tmp_path / "recipe.yaml", words), tmp_path / "run")
        after = rehearse(load_recipe(tmp_path / "recipe.yaml", words), tmp_path / "run", timed=True)
    assert arithmetic.training is None  # nothing was timed, nor any row shown to the trainer
    assert found.training is not None
    assert found.training.tokens == len("say four") + 2 * len("ok")
    assert "         about 3 steps, 12 tokens, 1.0 GiB of memory (2.0 GiB are free)." in rehearsal_lines(found)
    assert "train    to do, 1:30 (a few steps timed, answers assumed as long as their prompts)" in rehearsal_lines(found)
    assert found.to_json()["training"]["fits"]
    assert any(line.endswith("(0.0 GiB are free). It does not fit. Set less.") for line in rehearsal_lines(short))
    assert not short.to_json()["training"]["fits"]
    assert refused.training is None
    assert after.training is None  # what stands was timed for real
    assert after.stages[1].basis == "last run"


TRYING = '''
from pathlib import Path
import pillm
from pillm.testing import TableExporter, TableTrainer

class Based(TableTrainer):
    """Has a base of a million parameters on this machine."""

    name = "based"
    folder: str

    def base_checkpoint(self, *, fetch=True):
        return pillm.Checkpoint(path=Path(self.folder))

class Trying(TableExporter):
    """Tries more files than it ships."""

    name = "trying"

    def forecast(self, student, rows, tokens):
        if student.get("odd"):
            raise pillm.DataError("an odd student.")
        return pillm.ExportForecast(files=60, tokens=60 * tokens, disk_bytes=student["hidden_size"] * 1_000_000)

@pillm.hookimpl
def pillm_trainers():
    return [Based]

@pillm.hookimpl
def pillm_exporters():
    return [Trying]
'''


def test_a_rehearsal_counts_every_file_that_an_export_tries(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"hidden_size": 7}')
    (base / "model.safetensors").write_bytes(b"x" * 2_000_000)
    words = ["exporter.use=trying", "trainer.use=based", f"trainer.folder={base}", "split.validation=2"]
    with installed_plugin(tmp_path / "trying", "trying", TRYING):
        found = rehearse(load_recipe(tmp_path / "recipe.yaml", words), tmp_path / "run")
        (base / "config.json").write_text('{"odd": true}')
        odd = rehearse(load_recipe(tmp_path / "recipe.yaml", words), tmp_path / "run")
    assert found.export is not None
    assert found.export.files == 60
    assert found.export.tokens > 0
    assert found.disk_bytes is not None
    assert found.disk_bytes > 11_000_000, "the checkpoint, and all that the export says"
    stage = found.stages[2]
    assert (stage.stage, stage.basis) == ("export", "rough arithmetic")
    assert stage.seconds is not None
    assert stage.seconds >= 120, "sixty files are written and opened, however small they are"
    assert any(line.startswith("         at most 60 files are made and measured, ") for line in rehearsal_lines(found))
    assert found.to_json()["export"]["files"] == 60
    assert odd.export is None
    assert odd.stages[2].seconds is None


TOOLED = '''
import pillm
from pillm.testing import TableExporter

class Tooled(TableExporter):
    """Needs a tool that nobody has."""

    name = "tooled"

    def check(self):
        raise pillm.MissingDependency("the tool is not installed. Get it with: fetch-tool")

@pillm.hookimpl
def pillm_exporters():
    return [Tooled]
'''


def test_a_rehearsal_tells_what_is_missing_here_and_forecasts_all_the_same(tmp_path: Path) -> None:
    with installed_plugin(tmp_path / "tooled", "tooled", TOOLED):
        found = rehearse(load_recipe(tmp_path / "recipe.yaml", ["exporter.use=tooled"]), tmp_path / "run")
    assert found.obstacles == ("the tool is not installed. Get it with: fetch-tool",)
    assert found.label.to_ask == 8
    assert f"obstacle {found.obstacles[0]}" in rehearsal_lines(found)
    assert found.to_json()["obstacles"]
