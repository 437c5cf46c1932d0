"""Every subject is scored by the same code, and asked once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillm.contract import Contract
from pillm.errors import ConfigError
from pillm.metrics import Exact
from pillm.progress import Event, Progress
from pillm.records import Prompt, Reference
from pillm.stages.exporting import export
from pillm.stages.training import train
from pillm.subjects import Scoring, ask_teacher, model_subject, score
from pillm.testing import EchoTeacher, TableExporter, TableRunner, TableTrainer, sample_examples


def prompts(reference: bool = True) -> list[Prompt]:
    truth = Reference(message={"role": "assistant", "content": "hello"}) if reference else None
    return [
        Prompt(id=f"r{i}", messages=({"role": "user", "content": text},), reference=truth)
        for i, text in enumerate(("hello", "bye"))
    ]


def scoring(folder: Path, rows: list[Prompt], events: list[Event] | None = None) -> Scoring:
    readers = (events.append,) if events is not None else ()
    return Scoring(
        folder=folder, sets={"test": rows}, metrics=[Exact()], contract=Contract(), seed=0, progress=Progress("", readers)
    )


def test_the_teacher_answers_from_its_store_and_is_scored_against_the_truth(tmp_path: Path) -> None:
    settings = scoring(tmp_path, prompts())
    teacher, counts = ask_teacher(EchoTeacher(), settings)
    assert (counts.answered, settings.teacher_answers) == (2, {"r0": "hello", "r1": "bye"})
    evaluation = score(teacher, settings)[0]
    assert (evaluation.kind, evaluation.metrics["exact"].mean, evaluation.compared_with) == ("teacher", 0.5, "reference")


def test_without_a_truth_the_teacher_is_the_reference(tmp_path: Path) -> None:
    settings = scoring(tmp_path, prompts(reference=False))
    teacher, _ = ask_teacher(EchoTeacher(), settings)
    assert score(teacher, settings)[0].compared_with == "teacher"


def test_a_scored_set_is_not_asked_again_and_the_file_not_opened(tmp_path: Path) -> None:
    checkpoint = train(sample_examples(), TableTrainer(), tmp_path / "train")
    model = export(checkpoint, TableExporter(), tmp_path / "export")[0]
    subject = model_subject(model, TableRunner())
    first = score(subject, scoring(tmp_path / "evaluate", prompts()))
    model.path.unlink()  # whoever opened it now would fail
    assert score(subject, scoring(tmp_path / "evaluate", prompts())) == first


def test_a_runner_of_another_format_is_refused(tmp_path: Path) -> None:
    checkpoint = train(sample_examples(), TableTrainer(), tmp_path / "train")
    model = export(checkpoint, TableExporter(), tmp_path / "export")[0]

    class GGUFOnly(TableRunner):
        """Reads GGUF."""

        reads = frozenset({"gguf"})

    with pytest.raises(ConfigError, match=r"reads gguf, not student-F16\.table"):
        model_subject(model, GGUFOnly())


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "‥／etc", ".", "", "x" * 300])
def test_names_never_choose_a_path(tmp_path: Path, name: str) -> None:
    from pillm.subjects import StoredAnswers, Subject

    folder = Subject(name=name, kind="model", identity={}, open=lambda: StoredAnswers(tmp_path)).folder
    assert (tmp_path / folder).resolve().parent == tmp_path.resolve()
    assert len(folder) < 64
