"""Trainers, exporters, runners and metrics that break a rule are told which, by their conformance checks."""

from collections.abc import Iterator
from typing import ClassVar

import pytest
from pydantic import Field

from pillm import Answer, Checkpoint, ConfigError, Failure, Finding, ModelFile, Runner, Session
from pillm.testing import (
    ConformanceError,
    LengthMetric,
    TableExporter,
    TableRunner,
    TableSession,
    TableTrainer,
    check_exporter,
    check_metric,
    check_runner,
    check_trainer,
)


def test_a_trainer_that_leaves_out_the_probes_is_told(tmp_path):
    class Forgetful(TableTrainer):
        """Forgets the probes."""

        name: ClassVar[str] = "forgetful"

        def train(self, data, out, progress):
            super().train(data, out, progress)
            (out / "probes.jsonl").write_text("")

    class Stray(TableTrainer):
        """Writes beside its folder."""

        name: ClassVar[str] = "stray"

        def train(self, data, out, progress):
            super().train(data, out, progress)
            (out.parent / "log.txt").write_text("")

    class Mumbling(TableTrainer):
        """Leaves a record that says nothing."""

        name: ClassVar[str] = "mumbling"

        def train(self, data, out, progress):
            super().train(data, out, progress)
            (out / "training.json").write_text('{"losses": [1.0, NaN]}')

    with pytest.raises(ConformanceError, match=r"wrote a training\.json in which the report finds nothing"):
        check_trainer(Mumbling(), tmp_path / "c")
    with pytest.raises(ConformanceError, match="probe"):
        check_trainer(Forgetful(), tmp_path / "a")
    with pytest.raises(ConformanceError, match=r"outside its folder: log\.txt"):
        check_trainer(Stray(), tmp_path / "b")


def test_an_exporter_that_yields_too_early_is_told(tmp_path):
    class Early(TableExporter):
        """Goes on writing after it yielded."""

        name: ClassVar[str] = "early"

        def export(self, checkpoint, out, progress) -> Iterator[ModelFile]:
            for model in super().export(checkpoint, out, progress):
                yield model
                model.path.write_bytes(b"more")

    checkpoint = check_trainer(TableTrainer(), tmp_path / "train")
    with pytest.raises(ConformanceError, match=r"changed student-F16\.table after"):
        check_exporter(Early(), checkpoint, tmp_path / "export")


@pytest.mark.parametrize(
    ("found", "words"),
    [("fine", "must yield Findings"), (Finding("layers", "broken", "too many"), r"would refuse in a run .*too many")],
)
def test_an_exporter_that_would_refuse_what_it_exports_is_told(tmp_path, found, words):
    class Picky(TableExporter):
        """Says something else beforehand."""

        name: ClassVar[str] = "picky"

        def examine(self, checkpoint, *, student=None, prove=False):
            yield found

    checkpoint = check_trainer(TableTrainer(), tmp_path / "train")
    with pytest.raises(ConformanceError, match=words):
        check_exporter(Picky(), checkpoint, tmp_path / "export")


def test_a_runner_that_answers_twice_in_two_ways_is_told(tmp_path):
    class Dice(Runner):
        """Never says the same."""

        name: ClassVar[str] = "dice"
        reads: ClassVar[frozenset[str]] = frozenset({"checkpoint"})

        def open(self, model):
            return Dicing()

    class Dicing(Session):
        said = 0

        def answer(self, requests):
            for request in requests:
                self.said += 1
                yield request, Answer(str(self.said))

    with pytest.raises(ConformanceError, match="differently when asked again"):
        check_runner(Dice(), Checkpoint(path=tmp_path))
    with pytest.raises(ConformanceError, match="reads checkpoint, not gguf"):
        check_runner(Dice(), ModelFile(path=tmp_path / "a.gguf", quant="F16", bytes=1, sha256=""))


def test_a_runner_that_finds_only_when_asked_that_it_cannot_hold_a_schema_is_told(tmp_path):
    class Late(TableRunner):
        """Holds answers to schemas, and refuses one late."""

        name: ClassVar[str] = "late"
        capabilities: ClassVar[frozenset[str]] = frozenset({"answer", "bench", "grammar"})
        constrain: bool = Field(False, description="Hold answers to the row's schema.")
        early: bool = Field(False, description="Look in time.")

        def check_prompts(self, prompts):
            if self.early and any("not" in (prompt.schema or {}) for prompt in prompts):
                raise ConfigError("'not' cannot be held to.")

        def open(self, model):
            return Refusing({}, "late") if self.constrain else super().open(model)

    class Refusing(TableSession):
        def answer(self, requests):
            for request in requests:
                yield request, Failure("invalid", "'not' cannot be held to.")

    student = check_trainer(TableTrainer(), tmp_path / "train")
    with pytest.raises(ConformanceError, match=r"check_prompts\(\) let pass \('not' cannot be held to"):
        check_runner(Late(), student)
    check_runner(Late(early=True), student)


def test_a_runner_that_does_not_answer_is_only_timed(tmp_path):
    class Timer(TableRunner):
        """Times tables and answers nothing."""

        name: ClassVar[str] = "timer"
        capabilities: ClassVar[frozenset[str]] = frozenset({"bench"})
        session: ClassVar[type[Session]]

        def open(self, model):
            return self.session()

    class Timed(Session):
        def answer(self, requests):
            raise AssertionError("asked")

        def bench(self, plan):
            return TableSession({}, "a table").bench(plan)

    class Idle(Timed):
        bench = Session.bench

    Timer.session = Timed
    assert check_runner(Timer(), Checkpoint(path=tmp_path)) == []
    Timer.session = Idle
    with pytest.raises(ConformanceError, match=r"says that it can bench, and its session has no bench\(\)"):
        check_runner(Timer(), Checkpoint(path=tmp_path))


def test_a_metric_that_scores_rows_it_says_it_does_not_apply_to_is_told():
    class Modest(LengthMetric):
        """Applies to nothing, it says."""

        name: ClassVar[str] = "modest"

        def applies(self, prompt):
            return False

    with pytest.raises(ConformanceError, match=r"to which applies\(\) says that it does not apply"):
        check_metric(Modest())


def test_a_metric_that_scores_nonsense_is_told():
    class Endless(LengthMetric):
        """Scores infinity."""

        name: ClassVar[str] = "endless"

        def score(self, prompt, answer):
            return float("inf")

    with pytest.raises(ConformanceError, match="finite"):
        check_metric(Endless())
