"""The machine is looked at before anything is opened; what is opened anew is opened once that is done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.artifacts import BenchPlan, Checkpoint, ModelFile
from pillm.backends import Session
from pillm.errors import Unavailable
from pillm.machines import LocalMachine, Machine
from pillm.performance import preflight as looking
from pillm.performance.benchmark import Expected
from pillm.performance.history import History
from pillm.progress import Event, Progress
from pillm.stages.benchmarking import measure
from pillm.stages.measurement import Measuring
from tests.recorded import FILES, QUICK, BoardRunner, BoardSession, RecordedMachine

WIDE = BenchPlan(pp=8, tg=4, repetitions=3, loads=2, strict=True)


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" * 1000)
    return ModelFile.of(path, "Q8_0")


class Here(LocalMachine):
    """This computer, as it was recorded."""

    recorded: ClassVar[RecordedMachine]

    def read(self, path: str) -> str | None:
        return self.recorded.read(path)

    def run(self, argv: object, *, timeout: float = 60.0) -> str:
        return self.recorded.run(argv, timeout=timeout)  # type: ignore[arg-type]


class HereRunner(BoardRunner):
    """Runs here, takes memory while a model is open, and counts what it opened."""

    name: ClassVar[str] = "here"
    opened: ClassVar[list[str]] = []

    def runs_on(self) -> Machine:
        Here.recorded = self.machine
        return Here()

    def open(self, model: ModelFile | Checkpoint) -> Session:
        self.opened.append(model.label)
        self.machine.files["/proc/meminfo"] = "MemTotal: 3884256 kB\nMemAvailable: 1000 kB\n"
        return BoardSession(board=self.machine)


@pytest.fixture(autouse=True)
def _none_opened() -> None:
    HereRunner.opened.clear()


def test_a_machine_that_will_not_do_is_refused_before_anything_is_opened(tmp_path: Path, model: ModelFile) -> None:
    board = RecordedMachine()
    board.files["/proc/loadavg"] = "3.10 2.00 1.00 5/99 7\n"
    history = History(tmp_path / "h.jsonl")
    with pytest.raises(Unavailable, match=r"a load of 3\.10"):
        measure(model, HereRunner(machine=board), Measuring(plan=WIDE, history=history))
    assert HereRunner.opened == []
    (refused,) = history.read().refused()
    assert (refused.body["timed"], refused.body["samples"]) == (False, {})


def test_an_open_model_is_not_counted_twice_when_memory_is_looked_at(model: ModelFile) -> None:
    board = RecordedMachine(files=dict(FILES))
    how = Measuring(plan=WIDE, expected=Expected(device="d", memory=2_500_000_000))
    record, _ = measure(model, HereRunner(machine=board), how)
    assert record.conditions is not None
    assert record.conditions.findings == ()
    assert (record.conditions.available, record.conditions.needed) == (3_300_000 * 1024, 2_500_000_000)


def test_opening_is_timed_after_the_look_and_the_model_is_opened_once_more_for_the_rest(model: ModelFile) -> None:
    record, _ = measure(model, HereRunner(machine=RecordedMachine(files=dict(FILES))), Measuring(plan=WIDE))
    assert len(HereRunner.opened) == 2 * 2 + 1
    assert [len(record.times[name].samples) for name in ("load_cold_ms", "load_warm_ms")] == [2, 2]


def test_a_warm_machine_is_waited_for_before_it_is_judged(model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_LOOK", 0.01)
    board, zone = RecordedMachine(files=dict(FILES)), "/sys/class/thermal/thermal_zone0/temp"
    board.files[zone] = ["70000\n"] * 3 + ["44000\n"]
    said: list[Event] = []
    how = Measuring(plan=replace(QUICK, strict=True, cool=30.0), progress=Progress("bench", (said.append,)))
    record, _ = measure(model, HereRunner(machine=board), how)
    assert any("70 °C: waiting until it is below 55" in (one.message or "") for one in said)
    assert record.void == ()
    hot = RecordedMachine(files={**FILES, zone: "70000\n"})
    with pytest.raises(Unavailable, match="70 °C before it began"):
        measure(model, HereRunner(machine=hot), replace(how, plan=replace(how.plan, cool=0.03)))


def test_lengths_that_the_model_cannot_see_are_clipped_and_it_is_said(model: ModelFile) -> None:
    said: list[Event] = []
    how = Measuring(plan=BenchPlan(pp=8000, tg=128, repetitions=3), progress=Progress("bench", (said.append,)))
    record, _ = measure(model, BoardRunner(machine=RecordedMachine()), how)
    assert (record.pp, record.tg) == (3968, 128)
    assert any("pp8000 and tg128 are more than it can see: pp3968 and tg128 were timed" in (one.message or "") for one in said)


def test_decode_that_is_spread_makes_it_void(model: ModelFile) -> None:
    record, _ = measure(model, BoardRunner(machine=RecordedMachine(), pace={"tg4": [1.0, 1.0, 2.0]}), Measuring(plan=QUICK))
    assert record.void == ("decode is spread by 34.6%, more than 5.0%",)
