"""A run is the verbs in a row: whole, resumable, verifiable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.backends import TrainingData
from pillm.errors import ConfigError, DataError, PillmError, Unavailable
from pillm.pipeline import RunResult, run
from pillm.progress import Event, Progress
from pillm.recipe import load_recipe
from pillm.testing import FAKES, installed_plugin
from pillm.testing.fakes import TableTrainer, rendered
from pillm.verification import verify

RECIPE = """
prompts: rows.jsonl
seed: 1
split: {test: 4, validation: 2, calibration: 2}
teacher: {use: echo}
trainer: {use: table}
exporter: {use: table, quants: [F16, Q8_0]}
runner: {use: table}
checkpoint_runner: {use: table}
evaluate: {metrics: [exact, shortness], sets: {handwritten: handwritten.jsonl}}
bench: {pp: 8, tg: 8, repetitions: 1}
gates: {exact: 0.0}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path) -> Iterator[None]:
    rows = [
        {"id": f"r{i}", "user": f"say {i // 2}", "group": f"g{i // 2}", "reference": {"content": f"say {i // 2}"}}
        for i in range(24)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "handwritten.jsonl").write_text(
        json.dumps({"id": "h1", "user": "say 0 again", "reference": {"content": "x"}}) + "\n"
    )
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "board.yaml").write_text("extends: pi4-4gb\n")
    with installed_plugin(tmp_path / "site", "fakes", FAKES):
        yield


def go(tmp_path: Path, *overrides: str, readers: tuple[object, ...] = ()) -> RunResult:
    return run(load_recipe(tmp_path / "recipe.yaml", overrides), tmp_path / "run", progress=Progress("", readers))  # type: ignore[arg-type]


def states(events: list[Event]) -> dict[str, str]:
    """Return how each stage ended: finish or up-to-date."""
    return {event.stage: event.kind for event in events if event.kind in ("finish", "up-to-date")}


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


def test_the_same_run_again_is_up_to_date_everywhere(tmp_path: Path) -> None:
    first = go(tmp_path)
    events: list[Event] = []
    second = go(tmp_path, readers=(events.append,))
    assert set(states(events).values()) == {"up-to-date"}
    assert second.report == first.report
    assert verify(tmp_path / "run") == []


def test_a_run_for_a_device_that_can_be_played_ends_with_an_answer_of_it(tmp_path: Path) -> None:
    source = (
        "from typing import ClassVar\nfrom pillm import hookimpl\nfrom pillm.testing.fakes import TableRunner\n"
        "class Played(TableRunner):\n    'Plays.'\n    name: ClassVar[str] = 'played'\n    emulates: ClassVar[str] = 'pi4'\n"
        "@hookimpl\ndef pillm_runners():\n    return [Played]\n"
    )
    with installed_plugin(tmp_path / "played", "played", source):
        go(tmp_path, "device=pi4-2gb")
        told = json.loads((tmp_path / "run" / "evaluate" / "emulated" / "emulated.json").read_text())
        assert (told["runner"], told["same"], told["model"][-6:]) == ("played", True, ".table")
        events: list[Event] = []
        go(tmp_path, "device=pi4-2gb", readers=(events.append,))
        assert states(events)["emulate"] == "up-to-date"
        assert set(states(events).values()) == {"up-to-date"}
    assert verify(tmp_path / "run") == []


def test_a_training_option_trains_again_and_never_labels(tmp_path: Path) -> None:
    go(tmp_path)
    events: list[Event] = []
    go(tmp_path, "trainer.upper=true", readers=(events.append,))
    ended = states(events)
    assert ended["label"] == "up-to-date"
    assert (ended["train"], ended["export"]) == ("finish", "finish")
    assert not any(event.stage == "evaluate echo" and event.kind == "finish" for event in events)


def test_an_option_that_cannot_change_answers_re_asks_nothing(tmp_path: Path) -> None:
    go(tmp_path)
    events: list[Event] = []
    go(tmp_path, "teacher.window=3", readers=(events.append,))
    assert {stage for stage, state in states(events).items() if state != "up-to-date"} <= {"report"}


def test_a_changed_byte_anywhere_is_found(tmp_path: Path) -> None:
    go(tmp_path)
    run_folder = tmp_path / "run"
    files = [path for path in run_folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    files = [path for path in files if path.name not in ("events.jsonl", "manifest.json")]
    assert len(files) > 15
    for path in files:
        good = path.read_bytes()
        if good:
            path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
            assert [problem.path for problem in verify(run_folder)] == [path]
            path.write_bytes(good)
    assert verify(run_folder) == []


def test_a_changed_stage_manifest_is_found_by_the_root_manifest(tmp_path: Path) -> None:
    go(tmp_path)
    manifest = tmp_path / "run" / "train" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 1', '"seed": 2'))
    assert [problem.path for problem in verify(tmp_path / "run")] == [manifest]


def test_a_gate_that_is_not_met_is_reported_with_its_figures(tmp_path: Path) -> None:
    result = go(tmp_path, "gates.exact=1.5 of teacher")
    assert not result.gates_met
    assert {gate["model"] for gate in result.report["gates"]} == {"student-F16.table", "student-Q8_0.table"}


def test_a_killed_stage_is_resumed_by_the_same_command(tmp_path: Path) -> None:
    def kill(event: Event) -> None:
        if event.stage == "export":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, readers=(kill,))
    events: list[Event] = []
    go(tmp_path, readers=(events.append,))
    assert (states(events)["label"], states(events)["train"], states(events)["export"]) == (
        "up-to-date",
        "up-to-date",
        "finish",
    )


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


def test_a_row_that_changes_only_the_balance_writes_the_report_anew(tmp_path: Path) -> None:
    go(tmp_path, "filters=[{use: drop, word: secret}]")
    with (tmp_path / "handwritten.jsonl").open("a") as file:
        file.write('{"id": "h2", "user": "a secret"}\n')
    assert go(tmp_path, "filters=[{use: drop, word: secret}]").report["rows"]["rejected"] == 1


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


TIMER = '''
from pillm.testing.fakes import TableRunner
import pillm

class Timer(TableRunner):
    """Times tables and answers nothing."""

    name = "timer"
    capabilities = frozenset({"bench"})

    def open(self, model):
        session = super().open(model)
        session.answer = None
        return session

@pillm.hookimpl
def pillm_runners():
    return [Timer]
'''


def test_a_bench_runner_times_what_the_runner_scores(tmp_path: Path) -> None:
    with installed_plugin(tmp_path / "timer", "timer", TIMER):
        report = go(tmp_path, "bench_runner.use=timer").report
    assert len(report["benchmarks"]) == 2
    assert {one["subject"] for one in report["evaluations"] if one["kind"] == "model"}
    assert report["resolved"]["bench_runner"] == {"use": "timer"}
    manifests = [json.loads(path.read_text()) for path in (tmp_path / "run" / "bench").rglob("manifest.json")]
    assert {manifest["backends"][0]["use"] for manifest in manifests} == {"timer"}


def test_what_a_bench_runner_measures_is_the_devices_and_its_gates_and_headline_say_so(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("{exact: 0.0}", "{tg_tps: 1}") + "device: pi4-4gb\n")
    alone = go(tmp_path)
    assert [gate.reason for gate in alone.gates] == [
        "its tg_tps on pi4-4gb was neither measured nor predicted. A bench_runner that runs there measures it."
    ] * 2, "this machine's speed is not the Pi's"
    assert "tokens per second" not in (tmp_path / "run" / "report.md").read_text().splitlines()[2]
    with installed_plugin(tmp_path / "timer", "timer", TIMER):
        there = go(tmp_path, "bench_runner.use=timer")
    assert there.gates_met
    assert {(one["device"], one["basis"], one["details"]["machine"]) for one in there.report["benchmarks"]} == {
        ("pi4-4gb", "measured", "here")
    }
    assert "tokens per second** on pi4-4gb" in (tmp_path / "run" / "report.md").read_text().splitlines()[2]


def test_another_bench_runner_times_again_and_scores_nothing_anew(tmp_path: Path) -> None:
    with installed_plugin(tmp_path / "timer", "timer", TIMER):
        go(tmp_path)
        events: list[Event] = []
        go(tmp_path, "bench_runner.use=timer", readers=(events.append,))
    assert {stage for stage, state in states(events).items() if state != "up-to-date"} == {"bench", "report"}


FLAKY = '''
from pathlib import Path
from pillm import Failure, hookimpl
from pillm.testing import EchoTeacher

class Flaky(EchoTeacher):
    """Loses the network while a file says so."""

    name = "flaky"

    def answer(self, requests):
        for request, result in super().answer(requests):
            note = Path(__file__).parent / "offline"
            lost = note.exists() and request.prompt.text == "say 3"
            yield request, Failure(note.read_text() or "network", "connection reset") if lost else result

@hookimpl
def pillm_teachers():
    return [Flaky]
'''


def test_a_teacher_that_lost_the_network_stops_the_run_and_the_same_command_resumes(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("use: echo", "use: flaky"))
    with installed_plugin(tmp_path / "flaky", "flaky", FLAKY):
        (tmp_path / "flaky" / "offline").write_text("")
        with pytest.raises(Unavailable, match="same command asks the others again"):
            go(tmp_path)
        (tmp_path / "flaky" / "offline").unlink()
        assert go(tmp_path).report["rows"]["failed"] == 0


def test_rows_that_failed_for_good_are_told_of_and_asked_again_on_demand(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("use: echo", "use: flaky"))
    events: list[Event] = []
    with installed_plugin(tmp_path / "flaky", "flaky", FLAKY):
        (tmp_path / "flaky" / "offline").write_text("refused")
        assert go(tmp_path, readers=(events.append,)).report["rows"]["failed"] == 2
        (tmp_path / "flaky" / "offline").unlink()
        assert go(tmp_path).report["rows"]["failed"] == 2
        healed = run(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "run", retry=frozenset({"failed"}))
    assert healed.report["rows"]["failed"] == 0
    told = [event.message for event in events if "failed for good and are not trained on" in event.message]
    assert told[0].startswith("2 rows")
    assert told[0].endswith("says why. Ask them again: --retry failed")


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


@pytest.mark.parametrize("name", ["recipe.yaml", "report.json", "manifest.json", "train/manifest.json", "export/manifest.json"])
def test_the_same_command_mends_a_damaged_file_of_a_run(tmp_path: Path, name: str) -> None:
    go(tmp_path)
    damaged = tmp_path / "run" / name
    good = damaged.read_bytes()
    damaged.write_bytes(good.replace(b"sha256", b"sha257", 1) if name.startswith(("train", "export")) else b"\xff" + good[1:])
    assert damaged in [problem.path for problem in verify(tmp_path / "run")]
    go(tmp_path)
    assert verify(tmp_path / "run") == []


def test_the_recipe_of_a_run_folder_runs_and_makes_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    first = run(load_recipe(f"{tmp_path.name}/recipe.yaml", ["device=board.yaml"]), f"{tmp_path.name}/run").report
    again = run(load_recipe(f"{tmp_path.name}/run/recipe.yaml"), f"{tmp_path.name}/again").report
    assert again["rows"] == first["rows"]
    assert again["resolved"] == first["resolved"]
    assert first["resolved"]["prompts"] == "../rows.jsonl"
    assert first["resolved"]["evaluate"]["sets"] == {"handwritten": "../handwritten.jsonl"}
    assert first["resolved"]["device"] == "../board.yaml"
    assert first["device"] == again["device"] == "board"


def test_where_a_run_is_started_and_where_it_lies_make_nothing_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("recipe.yaml", "rows.jsonl", "handwritten.jsonl", "run"):
        (tmp_path / name).rename(moved / name)
    monkeypatch.chdir(moved)
    events: list[Event] = []
    run(load_recipe("recipe.yaml"), "run", progress=Progress("", (events.append,)))
    assert set(states(events).values()) == {"up-to-date"}


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
