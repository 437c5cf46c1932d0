"""What a history says of a benchmark that did not come to its end, or never began."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.artifacts import Benchmark, BenchPlan, Checkpoint, ModelFile
from pillm.backends import Session
from pillm.errors import BackendError, DataError, MissingDependency, Unavailable
from pillm.performance.history import History
from pillm.stages.benchmarking import measure
from pillm.stages.measurement import Measuring
from pillm.testing import TableSession
from tests.recorded import QUICK, BoardRunner, RecordedMachine


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" * 1000)
    return ModelFile.of(path, "Q8_0")


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
from pillm.stages.benchmarking import measure
from pillm.stages.measurement import Measuring
from tests.recorded import BoardRunner, BoardSession, RecordedMachine

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
