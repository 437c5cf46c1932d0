"""Each part of a benchmark is judged by the readings of its own phase."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.artifacts import Checkpoint, ModelFile
from pillm.backends import Session
from pillm.performance.benchmark import BenchWork
from pillm.performance.sampler import Sampler
from pillm.performance.timer import Timing
from pillm.stages.benchmarking import bench
from tests.recorded import CPU, QUICK, BoardRunner, BoardSession, RecordedMachine, Steady


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" * 1000)
    return ModelFile.of(path, "Q8_0")


SLOW_WHEN_IDLE = f"{CPU}/cpu0/cpufreq/scaling_cur_freq"


def idling(board: RecordedMachine) -> RecordedMachine:
    """Give a board a power sensor, and the clocks of one that idles slowly."""
    board.files |= {f"{CPU}/cpu{core}/cpufreq/scaling_cur_freq": "600000\n" for core in range(1, 4)}
    board.files |= {
        "/sys/class/hwmon/hwmon0/name": "ina219\n", "/sys/class/hwmon/hwmon0/power1_input": "3000000\n",
        f"{CPU}/cpu0/cpufreq/scaling_governor": "ondemand\n", SLOW_WHEN_IDLE: "1500000\n",
    }  # fmt: skip
    return board


class Clocked(BoardSession):
    """Computes at the clocks (MHz) that are listed by phase, and lets the sensors be read meanwhile."""

    clocks: ClassVar[dict[str, list[int]]] = {}

    def time(self, work: BenchWork) -> Timing:
        assert self.board is not None
        long = work.kind == "tg" and self.done.count(work.name) >= 3  # after the three rounds
        clocks = self.clocks["sustained" if long else work.kind]
        self.board.files[SLOW_WHEN_IDLE] = f"{clocks.pop(0) if len(clocks) > 1 else clocks[0]}000\n"
        time.sleep(0.06)
        found = Steady.time(self, work)
        self.board.files[SLOW_WHEN_IDLE] = "1500000\n"
        return found


class ClockedRunner(BoardRunner):
    """Runs on a recorded board whose clock changes."""

    name: ClassVar[str] = "clocked"

    def open(self, model: ModelFile | Checkpoint) -> Session:
        return Clocked(board=self.machine)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the sensors and the idle power in less time than on a board."""
    monkeypatch.setattr("pillm.stages.measurement._IDLE_SECONDS", 0.1)
    monkeypatch.setattr(Sampler.__init__, "__defaults__", (0.01,))


@pytest.mark.usefixtures("often")
def test_a_board_that_idles_slowly_while_its_power_is_read_gives_a_record_that_counts(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clocked, "clocks", {"pp": [2400], "tg": [2400]})
    record = bench(model, ClockedRunner(machine=idling(RecordedMachine())), plan=QUICK)
    assert record.void == ()
    clocks = {phase: {max(one.clocks_mhz) for one in record.readings if one.phase == phase} for phase in ("idle", "pp", "tg")}
    assert clocks == {"idle": {1500.0}, "pp": {2400.0}, "tg": {2400.0}}


@pytest.mark.usefixtures("often")
def test_a_clock_that_falls_under_load_makes_it_void_in_that_phase(model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clocked, "clocks", {"pp": [2400], "tg": [2400, 2400, 1800]})
    record = bench(model, ClockedRunner(machine=idling(RecordedMachine())), plan=QUICK)
    assert record.void == ("the clock fell from 2400 to 1800 MHz in tg",)


@pytest.mark.usefixtures("often")
def test_heat_of_a_long_run_is_told_and_makes_the_headline_not_void(model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clocked, "clocks", {"pp": [2400], "tg": [2400], "sustained": [2400, 2400, 1000]})
    plan = replace(QUICK, sustained=0.3)
    record = bench(model, ClockedRunner(machine=idling(RecordedMachine())), plan=plan)
    assert record.void == ()
    assert record.disturbed == {"sustained": ("the clock fell from 2400 to 1000 MHz in sustained",)}


def test_bits_that_are_set_as_the_last_figure_is_taken_make_it_void(model: ModelFile) -> None:
    board = RecordedMachine()
    board.commands["vcgencmd get_throttled"] = ["throttled=0x0\n"] * 3 + ["throttled=0x20000\n"]
    record = bench(model, BoardRunner(machine=board), plan=replace(QUICK, sustained=0.05))
    assert record.void == ("the throttle bits changed from 0x0 to 0x20000: frequency capped",)
    assert record.disturbed == {}, "the bits stay set; nothing more came"
