"""A benchmark is measured and kept."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.artifacts import Benchmark, BenchPlan, Checkpoint, DeviceFacts, ModelFile
from pillm.backends import Session
from pillm.devices import device
from pillm.errors import BackendError, DataError, Unavailable
from pillm.performance.benchmark import BenchWork, Expected
from pillm.performance.history import History
from pillm.performance.timer import TimedReply, Timing
from pillm.progress import Event, Progress
from pillm.records import Prompt
from pillm.stages.benchmarking import bench, measure
from pillm.stages.exporting import export
from pillm.stages.measurement import Measuring
from pillm.stages.training import train
from pillm.testing import TableExporter, TableRunner, TableSession, TableTrainer, sample_examples
from tests.recorded import QUICK, BoardRunner, BoardSession, RecordedMachine


def test_a_measurement_is_returned_and_written(tmp_path: Path) -> None:
    checkpoint = train(sample_examples(), TableTrainer(), tmp_path / "train")
    model = export(checkpoint, TableExporter(), tmp_path / "export")[0]
    record = bench(model, TableRunner(), plan=BenchPlan(pp=16, tg=4), out=tmp_path / "bench.json")
    written = json.loads((tmp_path / "bench.json").read_text())
    assert (written["pp"], written["tg"], written["basis"]) == (16, 4, "measured")
    assert written["pp_tps"] == record.pp_tps > 0
    assert record.at is not None
    assert "measured" in str(record)


def test_a_model_may_be_named_by_its_path(tmp_path: Path, model: ModelFile) -> None:
    board = BoardRunner(machine=RecordedMachine())
    for name in (model.path, str(model.path)):
        record = bench(name, board, plan=QUICK)
        assert (record.sha256, record.bytes) == (model.sha256, 4000)
    (tmp_path / "folder").mkdir()
    for wrong in (tmp_path / "nope.gguf", tmp_path / "folder"):
        with pytest.raises(DataError, match=f"{wrong.name} is neither a model file nor a model folder"):
            bench(wrong, board, plan=QUICK)
    (tmp_path / "folder/config.json").write_text("{}")
    assert bench(tmp_path / "folder", board, plan=QUICK).sha256 is None


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


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" * 1000)
    return ModelFile.of(path, "Q8_0")


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
