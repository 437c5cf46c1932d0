"""A recipe is refused at once, in a sentence, or all of it is built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pillm.errors import ConfigError, UnknownBackend
from pillm.recipe import Recipe, load_recipe, named_quants
from pillm.testing import FAKES, installed_plugin
from pillm.yamlfile import parse_yaml

GOOD = """
prompts: rows.jsonl
seed: 3
split: {test: 2, validation: 1}
teacher: {use: echo}
trainer: {use: table, upper: true}
exporter: {use: table, quants: [F16, Q8_0]}
runner: {use: table}
checkpoint_runner: {use: table}
filters: [{use: drop, word: secret}]
evaluate: {metrics: [exact, shortness], sets: {extra: more.jsonl}}
gates: {exact: 0.5 of teacher}
"""


ANOTHER_RUNNER = """
from pillm.testing.fakes import TableExporter, TableRunner
import pillm

class Choosy(TableExporter):
    \"\"\"Chooses for a device.\"\"\"
    name = "choosy"
    device: str | None = None

class Scoring(Choosy):
    \"\"\"Chooses by metrics.\"\"\"
    name = "scoring"
    metrics: tuple[str | dict, ...] = ("exact",)

class Other(TableRunner):
    \"\"\"Reads GGUF files alone.\"\"\"
    name = "gguf-only"
    reads = frozenset({"gguf"})

class Timer(TableRunner):
    \"\"\"Times tables and answers nothing.\"\"\"
    name = "timer"
    capabilities = frozenset({"bench"})

@pillm.hookimpl
def pillm_runners():
    return [Other, Timer]

@pillm.hookimpl
def pillm_exporters():
    return [Choosy, Scoring]
"""


@pytest.fixture(autouse=True)
def fakes(tmp_path: Path) -> Iterator[None]:
    with (
        installed_plugin(tmp_path / "other", "other", ANOTHER_RUNNER),
        installed_plugin(tmp_path / "site", "fakes", FAKES),
    ):
        yield


def recipe(tmp_path: Path, text: str = GOOD, *overrides: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return load_recipe(path, overrides)


def test_every_backend_is_built_and_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    found = recipe(tmp_path)
    assert (found.teacher.name, found.trainer.name, found.exporter.name, found.runner.name) == (
        "echo",
        "table",
        "table",
        "table",
    )
    assert found.prompts == tmp_path / "rows.jsonl"
    assert found.sets == {"extra": tmp_path / "more.jsonl"}
    assert [metric.name for metric in found.metrics] == ["exact", "shortness"]
    assert (found.file.split.test, found.file.seed, len(found.filters), len(found.gates)) == (2, 3, 1, 1)


COLD = """
from pydantic import Field
from pillm.testing import EchoTeacher
import pillm

class Cold(EchoTeacher):
    \"\"\"Answers at a temperature.\"\"\"
    name = "cold"
    temperature: float = Field(0.0, description="How warm.")

@pillm.hookimpl
def pillm_teachers():
    return [Cold]
"""


def test_attempts_that_would_buy_the_same_answer_are_refused_at_once(tmp_path: Path) -> None:
    with installed_plugin(tmp_path / "cold", "cold", COLD):
        with pytest.raises(ConfigError, match=r"recipe\.yaml: attempts is 2, but teacher 'cold' at temperature 0"):
            recipe(tmp_path, GOOD, "teacher.use=cold", "label.attempts=2")
        warm = recipe(tmp_path, GOOD, "teacher.use=cold", "label.attempts=2", "teacher.temperature=0.7")
    assert (warm.labelling.attempts, warm.labelling.contract) == (2, warm.contract)


def test_overrides_nest_and_are_converted_by_type(tmp_path: Path) -> None:
    found = recipe(tmp_path, GOOD, "trainer.upper=false", "split.test=7", "exporter.quants=Q4_0,Q8_0", "seed=9")
    assert found.trainer.upper is False  # type: ignore[attr-defined]
    assert (found.file.split.test, found.file.seed) == (7, 9)
    assert found.exporter.quants == ("Q4_0", "Q8_0")  # type: ignore[attr-defined]


def test_lists_take_commas_and_none_leaves_a_part_out(tmp_path: Path) -> None:
    found = recipe(tmp_path, GOOD, "evaluate.metrics=exact, json", "checkpoint_runner=none", "evaluate.max_rows=none")
    assert [metric.name for metric in found.metrics] == ["exact", "json"]
    assert found.checkpoint_runner is None
    assert found.file.evaluate.max_rows is None
    again = recipe(tmp_path, yaml.safe_dump(found.resolved()))
    assert again.checkpoint_runner is None


def test_a_runner_that_only_times_serves_as_bench_runner_and_stands_in_the_resolved_recipe(tmp_path: Path) -> None:
    found = recipe(tmp_path, GOOD, "bench_runner.use=timer")
    assert (found.runner.name, found.backends()["bench_runner"].name) == ("table", "timer")
    assert found.resolved()["bench_runner"] == {"use": "timer"}
    assert recipe(tmp_path).resolved()["bench_runner"] is None


def test_without_a_checkpoint_runner_no_gate_can_name_the_checkpoint(tmp_path: Path) -> None:
    assert recipe(tmp_path, GOOD, "gates.exact=0.02 below checkpoint").gates
    with pytest.raises(ConfigError, match="no subject 'checkpoint'"):
        recipe(tmp_path, GOOD, "gates.exact=0.02 below checkpoint", "checkpoint_runner=none")


def test_gates_may_name_a_file_a_quantisation_and_every_figure(tmp_path: Path) -> None:
    for gate in ("exact=0.02 below F16", "shortness=0.1", "tg_tps=8", "pp_tps=1", "bytes=1e6", "exact=1 of recipe-F16.table"):
        assert recipe(tmp_path, GOOD, f"gates.{gate}").gates


def test_an_exporter_that_chooses_does_not_say_what_it_will_make(tmp_path: Path) -> None:
    assert named_quants(recipe(tmp_path).exporter) == ("F16", "Q8_0")
    chosen = recipe(tmp_path, GOOD, "exporter.quants=auto", "gates.exact=0.02 below Q4_0-tuned")
    assert named_quants(chosen.exporter) is None
    with pytest.raises(ConfigError, match="there is no subject 'Q4_0-tuned'"):
        recipe(tmp_path, GOOD, "gates.exact=0.02 below Q4_0-tuned")


def test_an_exporter_that_chooses_does_so_for_the_recipes_device_unless_it_is_told_another(tmp_path: Path) -> None:
    told = ("exporter.use=choosy", "device=pi4-4gb")
    assert recipe(tmp_path, GOOD, *told, "exporter.quants=auto").exporter.options()["device"] == "pi4-4gb"
    another = recipe(tmp_path, GOOD, *told, "exporter.quants=auto", "exporter.device=pi5-8gb")
    assert another.exporter.options()["device"] == "pi5-8gb"
    assert recipe(tmp_path, GOOD, *told).exporter.options()["device"] is None


def test_an_exporter_that_chooses_scores_by_the_recipes_metrics_unless_it_is_told_others(tmp_path: Path) -> None:
    told = ("exporter.use=scoring", "evaluate.metrics=[fields, exact, {use: judge, teacher: {use: echo}}]")

    def metrics(*words: str) -> Any:
        return recipe(tmp_path, GOOD, *told, *words).exporter.options()["metrics"]

    assert metrics("exporter.quants=auto") == [{"use": "fields"}, {"use": "exact"}], "a judge would be paid for every file"
    assert metrics("exporter.quants=auto", "exporter.metrics=[json]") == ["json"]
    assert metrics() == ["exact"], "named quantisations are not scored"


def test_the_resolved_recipe_spells_every_option_out_and_loads_again(tmp_path: Path) -> None:
    first = recipe(tmp_path)
    second = recipe(tmp_path, yaml.safe_dump(first.resolved()))
    assert second.resolved() == first.resolved()
    assert first.resolved()["teacher"]["window"] == 1


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ("teacher: {use: ehco}", UnknownBackend, r"recipe\.yaml: no teacher is called 'ehco'\. Did you mean 'echo'\?"),
        ("trainer: {use: table, uper: true}", ConfigError, r"has no option 'uper'\. Did you mean 'upper'\?"),
        ("trainer: {use: table, upper: perhaps}", ConfigError, r"trainer 'table' option 'upper'.*not 'perhaps'"),
        ("trainer: {upper: true}", ConfigError, r"needs 'use: NAME'"),
        ("split: {tset: 3}", ConfigError, r"unknown key 'split\.tset'\. Did you mean 'test'\?"),
        ("spilt: {test: 3}", ConfigError, r"unknown key 'spilt'\. Did you mean 'split'\?"),
        ("split: {test: -1}", ConfigError, r"split\.test: .*not -1"),
        ("gates: {exact: rather good}", ConfigError, r"is not understood"),
        ("evaluate: {metrics: [exat]}", UnknownBackend, r"no metric is called 'exat'\. Did you mean 'exact'\?"),
        ("gates: {exat: 0.9}", ConfigError, r"gates: .*no figure is called 'exat'\. Did you mean 'exact'\?"),
        ("gates: {fields: 0.9}", ConfigError, r"no figure is called 'fields'.*exact, shortness, tg_tps"),
        ("gates: {exact: 0.9 of techer}", ConfigError, r"no subject 'techer'\. Did you mean 'teacher'\?"),
        ("gates: {exact: 0.02 below Q4_0}", ConfigError, r"no subject 'Q4_0'.*F16, Q8_0"),
        ("gates: {exact: 0.3 above base}", ConfigError, r"trainer 'table' has no untrained base"),
        ("gates: {tg_tps: 0.5 of F16}", ConfigError, r"tg_tps takes a number alone"),
        ("evaluate: {sets: {test: more.jsonl}}", ConfigError, r"evaluate\.sets: 'test' is taken"),
        ("evaluate: {sets: {answers: more.jsonl}}", ConfigError, r"evaluate\.sets: 'answers' is taken"),
        ("evaluate: {sets: {../up: more.jsonl}}", ConfigError, r"evaluate\.sets: '\.\./up' is not a name"),
        ("evaluate: {sets: {Mine: more.jsonl}}", ConfigError, r"'Mine' is not a name.*small letters"),
        ("evaluate: {metrics: [exact, exact]}", ConfigError, r"metric 'exact' stands twice"),
        ("runner: {use: gguf-only}", ConfigError, r"runner 'gguf-only' reads gguf.*exporter 'table' writes table"),
        ("runner: {use: timer}", ConfigError, r"runner 'timer' times models and does not answer.*Give it as bench_runner"),
        ("checkpoint_runner: {use: timer}", ConfigError, r"checkpoint_runner 'timer' times models and does not answer"),
        ("bench_runner: {use: gguf-only}", ConfigError, r"bench_runner 'gguf-only' reads gguf.*exporter 'table' writes table"),
        ("bench_runner: {use: tiemr}", UnknownBackend, r"no runner is called 'tiemr'\. Did you mean 'timer'\?"),
        (
            "checkpoint_runner: {use: gguf-only}",
            ConfigError,
            r"checkpoint_runner 'gguf-only' reads gguf, not checkpoint folders",
        ),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong_and_what_was_meant(
    tmp_path: Path, change: str, kind: type[ConfigError], words: str
) -> None:
    key = change.partition(":")[0]
    kept = [line for line in GOOD.splitlines() if not line.startswith(f"{key}:")]
    with pytest.raises(kind, match=words):
        recipe(tmp_path, "\n".join([*kept, change]))


@pytest.mark.parametrize("missing", ["prompts", "teacher", "trainer", "exporter"])
def test_a_missing_part_is_named(tmp_path: Path, missing: str) -> None:
    kept = [line for line in GOOD.splitlines() if not line.startswith(f"{missing}:")]
    with pytest.raises(ConfigError, match=f"the key '{missing}' is missing"):
        recipe(tmp_path, "\n".join(kept))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "a recipe is a table"),
        ("a: [", "not a recipe"),
        ("a: &x 1\nb: *x\n", "not allowed"),
        ("a: 1\na: 2\n", "stands twice"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        recipe(tmp_path, text)


def test_a_missing_file_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pillm init"):
        load_recipe(tmp_path / "none.yaml")


def test_numbers_and_words_are_read_as_people_mean_them() -> None:
    assert parse_yaml("{a: 1e-5, b: no, c: true, d: 2.5}") == {"a": 1e-5, "b": "no", "c": True, "d": 2.5}


def test_absolute_paths_stay_as_they_were_written(tmp_path: Path) -> None:
    found = recipe(tmp_path, GOOD.replace("prompts: rows.jsonl", f"prompts: {tmp_path / 'rows.jsonl'}"))
    assert found.resolved(tmp_path / "run")["prompts"] == str(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("folder", ["runs/r", "elsewhere", "."])
def test_the_resolved_recipe_of_a_run_folder_names_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "board.yaml").write_text("extends: pi4-4gb\n")
    monkeypatch.chdir(tmp_path.parent)
    first = recipe(Path(tmp_path.name), GOOD + "device: ./board.yaml\n")
    at = tmp_path / folder / "run"
    at.mkdir(parents=True)
    resolved = first.resolved(at)
    monkeypatch.chdir(at)
    second = recipe(at, yaml.safe_dump(resolved))
    assert second.prompts.resolve() == tmp_path / "rows.jsonl"
    assert second.sets["extra"].resolve() == tmp_path / "more.jsonl"
    assert second.device is not None
    assert second.device.name == "board"
    assert second.resolved(at) == resolved
    assert not any(str(tmp_path) in str(value) for value in resolved.values())


def test_what_makes_the_file_has_one_hash_and_what_only_judges_it_is_not_in_it(tmp_path: Path) -> None:
    told = recipe(tmp_path).told
    assert told.recipe == recipe(tmp_path, GOOD, "device=pi4-4gb", "bench.pp=9", "evaluate.max_rows=3").told.recipe
    assert told.recipe != recipe(tmp_path, GOOD, "seed=99").told.recipe
    assert told.recipe != recipe(tmp_path, GOOD, "trainer.upper=false").told.recipe
    said = recipe(tmp_path, GOOD, "terms.license=MIT", "terms.teacher=isc", "terms.accepted=base").told
    assert (said.license, said.terms["teacher"], said.accepted) == ("MIT", "isc", ("base",))
    assert said.recipe == told.recipe
    with pytest.raises(ConfigError, match="terms"):
        recipe(tmp_path, GOOD, "terms.accepted=lawyer")
