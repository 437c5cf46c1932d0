"""A benchmark is measured and kept."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from pillm.artifacts import Benchmark, BenchPlan, Checkpoint, DeviceFacts, ModelFile
from pillm.backends import Runner, Session
from pillm.devices import device
from pillm.errors import BackendError, DataError, MissingDependency, Unavailable
from pillm.performance.benchmark import BenchWork, Expected
from pillm.performance.history import History
from pillm.performance.sampler import Sampler
from pillm.performance.timer import TimedReply, Timing
from pillm.progress import Event, Progress
from pillm.records import Answer, Failure, Prompt, Request
from pillm.stages.benchmarking import Measuring, bench, measure
from pillm.stages.exporting import export
from pillm.stages.training import train
from pillm.testing import TableExporter, TableRunner, TableSession, TableTrainer, sample_examples
from tests.recorded import CPU, RecordedMachine, Steady


def test_a_measurement_is_returned_and_written(tmp_path: Path) -> None:
    checkpoint = train(sample_examples(), TableTrainer(), tmp_path / "train")
    model = export(checkpoint, TableExporter(), tmp_path / "export")[0]
    record = bench(model, TableRunner(), plan=BenchPlan(pp=16, tg=4), out=tmp_path / "bench.json")
    written = json.loads((tmp_path / "bench.json").read_text())
    assert (written["pp"], written["tg"], written["basis"]) == (16, 4, "measured")
    assert written["pp_tps"] == record.pp_tps > 0
    assert record.at is not None
    assert "measured" in str(record)


def test_a_runner_that_measured_nothing_is_found_out(tmp_path: Path) -> None:
    class Idle(TableSession):
        def bench(self, plan: BenchPlan) -> Benchmark:
            return Benchmark(model="m", device="here", basis="measured", pp_tps=0.0, tg_tps=float("nan"))

    class IdleRunner(TableRunner):
        """Measures nothing."""

        name: ClassVar[str] = "idle"

        def open(self, model: ModelFile | Checkpoint) -> Session:
            return Idle({}, "m")

    with pytest.raises(BackendError, match=r"runner 'idle' measured"):
        bench(Checkpoint(path=tmp_path), IdleRunner())


@dataclass(slots=True)
class BoardSession(Steady, Session):
    """A steady session on a recorded board."""

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        yield from ()


class BoardRunner(Runner):
    """Runs on a recorded board."""

    name: ClassVar[str] = "board"
    machine: RecordedMachine
    pace: dict[str, list[float]] = Field(default_factory=dict)

    def open(self, model: ModelFile | Checkpoint) -> Session:
        return BoardSession(board=self.machine, pace=self.pace)


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" * 1000)
    return ModelFile.of(path, "Q8_0")


QUICK = BenchPlan(pp=8, tg=4, repetitions=3)


def test_a_quiet_board_gives_a_record_that_counts(tmp_path: Path, model: ModelFile) -> None:
    history = History(tmp_path / "h.jsonl")
    record, number = measure(model, BoardRunner(machine=RecordedMachine()), Measuring(plan=QUICK, history=history))
    assert (record.void, number) == ((), 2)
    assert record.conditions is not None
    assert record.conditions.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert (record.sha256, record.bytes, record.runner) == (model.sha256, 4000, "board")
    assert len(record.readings) >= 2
    assert [one.record for one in history.read().measured()] == [record]
    assert list(history.read().unfinished()) == []


def test_a_board_that_was_throttled_meanwhile_is_kept_and_void(tmp_path: Path, model: ModelFile) -> None:
    board = RecordedMachine()
    board.commands["vcgencmd get_throttled"] = ["throttled=0x0\n"] * 3 + ["throttled=0x60006\n"]
    history = History(tmp_path / "h.jsonl")
    record, _ = measure(model, BoardRunner(machine=board), Measuring(plan=QUICK, history=history))
    assert record.void == ("the throttle bits changed from 0x0 to 0x60006: frequency capped, throttled",)
    assert history.read().find("last").record.void == record.void


def test_swapping_and_unsteady_prefill_make_it_void(model: ModelFile) -> None:
    board = RecordedMachine()
    board.files["/proc/vmstat"] = ["pswpin 5\n", "pswpin 5\n", "pswpin 905\n"]
    record = bench(model, BoardRunner(machine=board, pace={"pp8": [1.0, 1.0, 1.0, 1.5]}), plan=QUICK)
    assert record.void == ("900 pages were swapped meanwhile", "prefill is spread by 21.7%, more than 1.0%")


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
    monkeypatch.setattr("pillm.stages.benchmarking._IDLE_SECONDS", 0.1)
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


def test_missing_sensors_are_said_and_nothing_is_made_up(model: ModelFile) -> None:
    record = bench(model, BoardRunner(machine=RecordedMachine(files={}, commands={})), plan=QUICK)
    assert record.conditions is not None
    assert {"temperature", "clock", "throttling", "power"} <= set(record.conditions.missing)
    assert (record.readings, record.void, record.energy) == ((), (), {})


def test_a_board_that_is_not_fit_is_refused_where_the_plan_is_strict(tmp_path: Path, model: ModelFile) -> None:
    board = RecordedMachine()
    board.files["/proc/loadavg"] = "3.10 2.00 1.00 5/99 7\n"
    history = History(tmp_path / "h.jsonl")
    strict = BenchPlan(pp=8, tg=4, repetitions=3, strict=True)
    with pytest.raises(Unavailable, match=r"the board is not fit to be timed: a load of 3\.10"):
        measure(model, BoardRunner(machine=board), Measuring(plan=strict, history=history))
    assert list(history.read().measured()) == []
    assert list(history.read().interrupted()) == []
    assert bench(model, BoardRunner(machine=board), plan=QUICK).conditions is not None


def test_the_work_that_is_announced_is_the_work_that_is_done(model: ModelFile) -> None:
    class Talking(BoardSession):
        def reply(self, prompt: Prompt, *, constrained: bool, fresh: bool) -> TimedReply:
            return TimedReply(first_ms=1.0, gaps_ms=(1.0,))

        def embed(self, texts: Iterable[str]) -> Iterator[tuple[float, ...]]:
            yield from ((1.0,) for _ in texts)

    class TalkingRunner(BoardRunner):
        """Runs on a recorded board, answers and embeds."""

        def open(self, model: ModelFile | Checkpoint) -> Session:
            return Talking(board=self.machine)

    seen: list[Event] = []
    prompt = Prompt(id="a", messages=({"role": "user", "content": "x"},))
    plan = replace(QUICK, prefix=True, texts=("a", "b"), prompts=(prompt,))
    bench(model, TalkingRunner(machine=RecordedMachine()), plan=plan, progress=Progress("bench", (seen.append,)))
    done = [event for event in seen if event.kind == "advance"][-1]
    assert (done.done, done.total) == (2 * 3 + 1 + 1 + 2, 10)


def test_energy_is_told_where_power_is_read(model: ModelFile) -> None:
    class Working(BoardSession):
        def time(self, work: BenchWork) -> Timing:
            began = time.monotonic()
            time.sleep(0.05)
            return replace(super().time(work), begin=began, seconds=0.05)

    class WorkingRunner(BoardRunner):
        name: ClassVar[str] = "working"

        def open(self, model: ModelFile | Checkpoint) -> Session:
            return Working(board=self.machine)

    board = RecordedMachine()
    board.files |= {
        "/sys/class/hwmon/hwmon0/name": "ina219\n",
        "/sys/class/hwmon/hwmon0/power1_input": ["3000000\n"] * 8 + ["5000000\n"],
    }
    record = bench(model, WorkingRunner(machine=board), plan=QUICK)
    assert record.energy["idle_w"] == pytest.approx(3.0, abs=0.5)
    assert 0 < record.energy["joules_per_token"] < 2.5 * 0.05


def test_loading_is_timed_from_the_disk_and_from_memory_only_on_this_machine(model: ModelFile) -> None:
    record = bench(model, BoardRunner(machine=RecordedMachine()), plan=BenchPlan(pp=8, tg=4, repetitions=1, loads=2))
    assert set(record.not_measured) == {"load_cold_ms", "load_warm_ms"}


def test_a_runner_that_times_the_two_figures_alone_says_what_it_left_out(model: ModelFile) -> None:
    model.path.write_text("{}", "utf-8")
    record = bench(model, TableRunner(), plan=BenchPlan(pp=8, tg=4, depths=(512,), prefix=True, sustained=1.0))
    assert set(record.not_measured) == {"pp8 @ d512", "tg4 @ d512", "prefix", "sustained", "sensors"}
    assert record.conditions is None


def test_a_prediction_is_compared_with(model: ModelFile) -> None:
    board = RecordedMachine()
    board.commands["vcgencmd get_throttled"] = "throttled=0x50000\n"
    how = Measuring(plan=QUICK, expected=Expected(device="pi4-4gb", tg_tps=1250.0, pp_tps=10_000.0))
    record, _ = measure(model, BoardRunner(machine=board), how)
    assert record.expected is not None
    assert record.expected.sentence.startswith(
        "decode 80% of predicted, prefill 100% of predicted: held back since it was started"
    )


def test_a_prediction_for_another_machine_is_no_share_of_anything(model: ModelFile) -> None:
    said: list[Event] = []
    foretold = Expected(device="pi5-8gb", tg_tps=100.0, pp_tps=100.0)
    how = Measuring(plan=QUICK, expected=foretold, profile=device("pi5-8gb"), progress=Progress("bench", (said.append,)))
    record, _ = measure(model, BoardRunner(machine=RecordedMachine()), how)
    assert record.expected is not None
    assert (record.expected.tg_ratio, record.expected.pp_ratio) == (None, None)
    assert "this machine is Raspberry Pi 4 Model B Rev 1.4" in record.expected.sentence
    assert any("not what was foretold for" in (one.message or "") for one in said)
    same, _ = measure(model, BoardRunner(machine=RecordedMachine()), replace(how, profile=device("pi4-8gb")))
    assert same.expected is not None
    assert same.expected.tg_ratio == 10.0


def test_a_runner_that_hides_its_sensors_is_asked_what_machine_it_is(model: ModelFile) -> None:
    class Elsewhere(TableRunner):
        """Runs on a board that it knows by name."""

        name: ClassVar[str] = "elsewhere"

        def probe(self) -> DeviceFacts:
            return DeviceFacts(model="Raspberry Pi 4 Model B Rev 1.4", architecture="aarch64")

    model.path.write_text("{}", "utf-8")
    for name, other in (("pi4-4gb", False), ("pi5-4gb", True)):
        how = Measuring(plan=QUICK, expected=Expected(device=name, tg_tps=1.0), profile=device(name))
        record, _ = measure(model, Elsewhere(), how)
        assert record.expected is not None
        assert (record.expected.elsewhere is not None, record.expected.tg_ratio is None) == (other, other)


def test_what_can_be_seen_to_be_wrong_before_is_not_noted(tmp_path: Path, model: ModelFile) -> None:
    class Lacking(BoardRunner):
        """Lacks what it needs."""

        name: ClassVar[str] = "lacking"

        def check(self) -> None:
            raise MissingDependency("ssh is not installed.")

    history = History(tmp_path / "h.jsonl")
    how = Measuring(plan=QUICK, history=history)
    with pytest.raises(MissingDependency):
        measure(model, Lacking(machine=RecordedMachine()), how)
    model.path.unlink()
    with pytest.raises(DataError, match=r"m\.gguf is not a file"):
        measure(model, BoardRunner(machine=RecordedMachine()), how)
    assert history.read().entries == ()


@pytest.mark.parametrize("kind", ["opening", "reaching"])
def test_a_start_that_never_opened_a_model_is_told_from_one_that_was_interrupted(
    tmp_path: Path, model: ModelFile, kind: str
) -> None:
    class Away(TableSession):
        def bench(self, plan: BenchPlan) -> Benchmark:
            raise Unavailable("pi@shed cannot be reached.")

    class AwayRunner(BoardRunner):
        """Cannot be reached."""

        name: ClassVar[str] = "away"

        def open(self, model: ModelFile | Checkpoint) -> Session:
            if kind == "opening":
                raise BackendError("no such model.")
            return Away({}, "m")

    history = History(tmp_path / "h.jsonl")
    with pytest.raises((BackendError, Unavailable)):
        measure(model, AwayRunner(machine=RecordedMachine()), Measuring(plan=QUICK, history=history))
    assert [one.of for one in history.read().refused()] == [1]
    assert list(history.read().interrupted()) == list(history.read().unfinished()) == []


INTERRUPTED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what it sends to the background without
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from pillm.artifacts import BenchPlan, ModelFile
from pillm.performance.history import History
from pillm.stages.benchmarking import Measuring, measure
from tests.recorded import RecordedMachine
from tests.test_benchmarking import BoardRunner, BoardSession

class Slow(BoardSession):
    def time(self, work):
        print(work.name, flush=True)
        time.sleep(0.02)
        return super().time(work)

class SlowRunner(BoardRunner):
    name = "slow"
    def open(self, model):
        return Slow(board=self.machine)

folder = Path(sys.argv[1])
model = ModelFile.of(folder / "m.gguf", "Q8_0")
how = Measuring(plan=BenchPlan(pp=8, tg=4, repetitions=10_000), history=History(folder / "h.jsonl"))
measure(model, SlowRunner(machine=RecordedMachine()), how)
"""


def interrupted(folder: Path, number: signal.Signals) -> History:
    """Measure once, then interrupt a second measurement in its midst; return the history."""
    history, model = History(folder / "h.jsonl"), ModelFile.of(folder / "m.gguf", "Q8_0")
    measure(model, BoardRunner(machine=RecordedMachine()), Measuring(plan=QUICK, history=history))
    words = [sys.executable, "-c", INTERRUPTED, str(folder), str(Path(__file__).parent.parent)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        for _ in range(6):  # the warm-up, and two rounds
            running.stdout.readline()
        running.send_signal(number)
        running.stdout.read()
    assert running.returncode != 0
    return history


def test_a_measurement_that_was_killed_leaves_the_earlier_ones_and_is_seen(tmp_path: Path, model: ModelFile) -> None:
    found = interrupted(tmp_path, signal.SIGKILL).read()
    assert found.damaged == ()
    assert [one.sequence for one in found.measured()] == [2]
    assert [(one.sequence, one.body["about"]["runner"]) for one in found.unfinished()] == [(3, "slow")]


def test_a_measurement_that_was_stopped_keeps_the_samples_it_had(tmp_path: Path, model: ModelFile) -> None:
    found = interrupted(tmp_path, signal.SIGINT).read()
    assert [one.sequence for one in found.measured()] == [2]
    assert list(found.unfinished()) == []
    last = found.entries[-1]
    assert (last.kind, last.of, last.body["reason"]) == ("interrupted", 3, "KeyboardInterrupt")
    assert list(found.interrupted()) == [last]
    assert len(last.body["samples"]["pp8"]) >= 2
