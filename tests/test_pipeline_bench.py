"""A run times what it made, here or on its device, and the report says where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pillm.progress import Event
from pillm.testing import installed_plugin
from pillm.verification import verify
from tests.recipes import RECIPE, go, states

pytestmark = pytest.mark.usefixtures("recipe_folder")


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
