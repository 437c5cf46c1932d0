"""What the kinds of backend do when a plugin says nothing of its own."""

from typing import ClassVar

import pytest
from pydantic import Field

from pillm import (
    BackendError,
    Benchmark,
    BenchPlan,
    Session,
    Teacher,
    TrainingData,
)
from pillm.backends import Rows
from pillm.testing import EchoTeacher, TableRunner
from tests.test_backend import Sampler


def test_evaluations_ask_greedily():
    assert Sampler().greedy().temperature == 0.0
    assert Sampler().temperature == 0.7
    assert EchoTeacher().greedy() == EchoTeacher()


def test_evaluations_ask_without_a_constraint():
    class Held(Sampler):
        """Holds answers to a grammar."""

        name: ClassVar[str] = "held"
        constrain: bool = Field(True, description="Hold answers to the row's schema.")

    assert (Held().greedy().temperature, Held().greedy().constrain) == (0.0, False)


def test_a_teacher_answers_otherwise_another_time_unless_its_temperature_is_0():
    assert (Sampler().varies(), Sampler(temperature=0).varies(), EchoTeacher().varies()) == (True, False, True)


def test_a_teacher_that_keeps_nothing_open_opens_as_itself():
    teacher = Sampler()
    with teacher.open() as opened:
        assert opened is teacher
    assert teacher.estimate(None) is None


def test_a_backend_tells_the_version_of_its_distribution():
    assert TableRunner.version() not in ("", "0")
    Stranger = type("Stranger", (Sampler,), {"__module__": "nowhere.at.all", "__doc__": "Is not installed."})  # noqa: N806
    assert Stranger.version() == "0"


def test_what_leaves_its_method_out_cannot_be_built():
    class Half(Teacher):
        """Does nothing."""

        name: ClassVar[str] = "half"

    with pytest.raises(TypeError, match="abstract"):
        Half()


def test_a_session_says_what_it_cannot_do_and_closes_itself():
    class Plain(Session):
        closed = 0

        def answer(self, requests):
            return iter(())

        def close(self):
            self.closed += 1

    with Plain() as session:
        with pytest.raises(BackendError, match="Plain cannot be timed"):
            session.bench(BenchPlan())
        with pytest.raises(BackendError, match="Plain cannot embed"):
            session.embed(["a"])
    assert session.closed == 1


def test_training_data_shares_no_state(tmp_path):
    rows = Rows(tmp_path / "none.jsonl", 0)
    one = TrainingData(train=rows, validation=rows, calibration=rows)
    assert one.contract == TrainingData(train=rows, validation=rows, calibration=rows).contract
    assert (one.seed, one.teacher, one.probes) == (0, None, ())


def test_a_benchmark_reads_as_a_sentence():
    record = Benchmark(model="m.gguf", device="pi4", basis="measured", pp_tps=40.04, tg_tps=8.06)
    assert str(record) == "m.gguf on pi4 (measured): pp512 40.0 t/s, tg128 8.1 t/s"
