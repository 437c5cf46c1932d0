"""A backend is its options: frozen, exact, and named for ever by those that matter."""

from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from pillm import Answer, BackendError, Benchmark, BenchPlan, Metric, Session, Teacher, TrainingData
from pillm.backends import KINDS, Rows, kind_of
from pillm.testing import EchoTeacher, TableRunner, TableTrainer


class Sampler(Teacher):
    """Answers warmly."""

    name: ClassVar[str] = "sampler"
    model: str = Field("m", description="The model.")
    temperature: float = Field(0.7, description="How warm.")
    batch_size: int = Field(8, description="Rows at once.", json_schema_extra={"key": False})

    def answer(self, requests):
        return ((request, Answer("a")) for request in requests)


class Judge(Metric):
    """Asks a teacher."""

    name: ClassVar[str] = "judge"
    teacher: Teacher = Field(description="Who judges.")

    def score(self, prompt, answer):
        return 1.0


def test_options_are_named_frozen_and_exact():
    with pytest.raises(TypeError):
        Sampler("m")
    with pytest.raises(ValidationError, match="frozen"):
        Sampler().model = "n"
    with pytest.raises(ValidationError, match="Extra inputs"):
        Sampler(temprature=1)


def test_the_identity_has_every_option_that_matters():
    assert Sampler().identity() == {"use": "sampler", "model": "m", "temperature": 0.7}
    assert Sampler(batch_size=64).identity() == Sampler().identity()
    assert Sampler(model="n").identity() != Sampler().identity()
    assert Sampler(temperature=0).identity() != Sampler().identity()


def test_the_options_have_every_option():
    assert Sampler().options() == {"use": "sampler", "model": "m", "temperature": 0.7, "batch_size": 8}


def test_a_backend_inside_a_backend_is_told_whole():
    judge = Judge(teacher=Sampler(model="n"))
    assert judge.options()["teacher"] == {"use": "sampler", "model": "n", "temperature": 0.7, "batch_size": 8}
    assert judge.identity() == {"use": "judge", "teacher": {"use": "sampler", "model": "n", "temperature": 0.7}}
    assert judge.identity() == Judge(teacher=Sampler(model="n", batch_size=1)).identity()


def test_a_preset_is_a_subclass_and_an_explicit_option_beats_it():
    class Warm(Sampler):
        """Answers very warmly."""

        name: ClassVar[str] = "warm"
        temperature: float = Field(1.5, description="How warm.")

    assert (Warm().temperature, Warm(temperature=0.1).temperature) == (1.5, 0.1)
    assert Warm().identity()["use"] == "warm"


def test_evaluations_ask_greedily():
    assert Sampler().greedy().temperature == 0.0
    assert Sampler().temperature == 0.7
    assert EchoTeacher().greedy() == EchoTeacher()


def test_a_teacher_that_keeps_nothing_open_opens_as_itself():
    teacher = Sampler()
    with teacher.open() as opened:
        assert opened is teacher
    assert teacher.estimate(None) is None


def test_every_kind_is_known_by_its_class():
    assert {kind: kind_of(base) for kind, base in KINDS.items()} == {kind: kind for kind in KINDS}
    assert kind_of(TableTrainer) == "trainer"


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
