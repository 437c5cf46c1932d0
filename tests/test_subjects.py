"""Every subject is scored by the same code, and asked once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pillm.artifacts import ModelFile
from pillm.backends import Session, Teacher
from pillm.contract import Contract
from pillm.errors import ConfigError
from pillm.metrics import Exact
from pillm.progress import Event, Progress
from pillm.records import Answer, Example, Failure, FailureKind, Prompt, Reference, Request
from pillm.stages.exporting import export
from pillm.stages.predictions import read_predictions
from pillm.stages.training import train
from pillm.subjects import SAMPLE, Scoring, Subject, a_sample, ask_teacher, device_subject, model_subject, on_labelled, score
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
    teacher, answered = ask_teacher(EchoTeacher(), settings)
    said = {row: {"role": "assistant", "content": text} for row, text in (("r0", "hello"), ("r1", "bye"))}
    assert (answered.counts.answered, settings.teacher_answers) == (2, {"test": said})
    evaluation = score(teacher, settings)[0]
    assert (evaluation.kind, evaluation.metrics["exact"].mean, evaluation.compared_with) == ("teacher", 0.5, "reference")


def test_labelled_rows_are_compared_with_their_labels_and_others_left_out(tmp_path: Path) -> None:
    rows = prompts(reference=False)
    labelled = [Example(prompt=rows[0], answer=Answer("hallo"))]
    apart = on_labelled(scoring(tmp_path, rows), "validation", rows, labelled)
    assert {name: [row.id for row in kept] for name, kept in apart.sets.items()} == {"validation": ["r0"]}
    model = export(train(sample_examples(), TableTrainer(), tmp_path / "train"), TableExporter(), tmp_path / "export")[0]
    (evaluation,) = score(model_subject(model, TableRunner()), apart)
    assert (evaluation.set, evaluation.rows, evaluation.compared_with) == ("validation", 1, "teacher")
    assert on_labelled(scoring(tmp_path, rows), "validation", rows, []).sets == {}


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
    from pillm.subjects import StoredAnswers

    folder = Subject(name=name, kind="model", identity={}, open=lambda: StoredAnswers(tmp_path)).folder
    assert (tmp_path / folder).resolve().parent == tmp_path.resolve()
    assert len(folder) < 64


def test_rows_of_two_sets_that_share_an_id_keep_their_own_answers(tmp_path: Path) -> None:
    other = [Prompt(id="r0", messages=({"role": "user", "content": "elsewhere"},))]
    settings = Scoring(
        folder=tmp_path,
        sets={"test": prompts(), "more": other},
        metrics=[Exact()],
        contract=Contract(),
        seed=0,
        progress=Progress(),
    )
    teacher, answered = ask_teacher(EchoTeacher(), settings)
    assert answered.counts.answered == 3
    assert settings.teacher_answers["more"] == {"r0": {"role": "assistant", "content": "elsewhere"}}
    assert [one.failed for one in score(teacher, settings)] == [0, 0]


def test_a_set_called_answers_does_not_touch_the_store(tmp_path: Path) -> None:
    settings = Scoring(
        folder=tmp_path, sets={"answers": prompts()}, metrics=[Exact()], contract=Contract(), seed=0, progress=Progress()
    )
    teacher, _ = ask_teacher(EchoTeacher(), settings)
    score(teacher, settings)
    assert (tmp_path / "answers" / "answers.sqlite").is_file()


class Failing(Session):
    """Answers all rows but one, and counts what it is asked."""

    def __init__(self, kind: FailureKind) -> None:
        self.kind, self.asked = kind, 0

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            self.asked += 1
            late = request.prompt.id == "r1"
            yield request, Failure(self.kind, "not now") if late else Answer(request.prompt.text)


@pytest.mark.parametrize(("kind", "asked"), [("invalid", 2), ("crashed", 2), ("refused", 2), ("server", 6), ("network", 6)])
def test_rows_are_asked_again_only_where_that_may_help(tmp_path: Path, kind: FailureKind, asked: int) -> None:
    session = Failing(kind)
    subject = Subject(name="m", kind="model", identity={}, open=lambda: session)
    found = [score(subject, scoring(tmp_path, prompts()))[0] for _ in range(3)]
    assert [one.failed for one in found] == [1, 1, 1]
    assert session.asked == asked


def test_scores_of_before_failures_were_told_apart_are_made_anew_once(tmp_path: Path) -> None:
    session = Failing("invalid")
    subject = Subject(name="m", kind="model", identity={}, open=lambda: session)
    score(subject, scoring(tmp_path, prompts()))
    [path] = tmp_path.rglob("manifest.json")
    manifest = json.loads(path.read_text("utf-8"))
    del manifest["results"]["transient"]
    path.write_text(json.dumps(manifest), "utf-8")
    for _ in range(2):
        score(subject, scoring(tmp_path, prompts()))
    assert session.asked == 4


def test_scores_that_took_a_teachers_answer_for_the_truth_are_made_anew(tmp_path: Path) -> None:
    said = {"role": "assistant", "content": "hello"}
    [row, _] = prompts()
    before = replace(row, reference=Reference(message=said), given=said)
    subject, _ = ask_teacher(EchoTeacher(), scoring(tmp_path, [before]))
    assert score(subject, scoring(tmp_path, [before]))[0].compared_with == "reference"
    now = replace(before, reference=None, provenance={"source": "teacher"})
    assert score(subject, scoring(tmp_path, [now]))[0].compared_with == "teacher"


def call(name: str, arguments: Any, id: str = "1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


class Calling(Teacher):
    """Answers by tool calls, with the question as argument, or one fixed call."""

    name: ClassVar[str] = "calling"
    tool: str = "say"
    silent: bool = False

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for number, request in enumerate(requests):
            calls = (
                () if self.silent else (call(self.tool, json.dumps({"text": request.prompt.text}), f"{self.tool}-{number}"),)
            )
            yield request, Answer("", tool_calls=calls)


def test_a_teacher_that_answers_by_tool_calls_is_the_reference_with_its_calls(tmp_path: Path) -> None:
    rows = prompts(reference=False)
    settings = scoring(tmp_path / "first", rows)
    teacher, _ = ask_teacher(Calling(), settings)
    assert score(teacher, settings)[0].metrics["exact"].mean == 1.0, "against itself"
    means = {}
    for name, student in {"same": Calling(), "silent": Calling(silent=True), "other": Calling(tool="shout")}.items():
        again = replace(scoring(tmp_path / name, rows), teacher_answers=dict(settings.teacher_answers))
        subject, _ = ask_teacher(student, replace(again, teacher_answers={}))
        means[name] = score(subject, again)[0].metrics["exact"].mean
    assert means == {"same": 1.0, "silent": 0.0, "other": 0.0}


def test_a_teacher_that_calls_another_tool_than_before_is_scored_anew(tmp_path: Path) -> None:
    settings = scoring(tmp_path, prompts(reference=False))
    teacher, _ = ask_teacher(Calling(), settings)
    kept = score(teacher, settings)[0].predictions
    assert kept is not None
    assert read_predictions(kept)[0].tool_calls[0]["function"]["name"] == "say"
    changed = {"r0": {"role": "assistant", "content": "", "tool_calls": [call("shout", "{}")]}}
    settings.teacher_answers["test"].update(changed)
    assert score(teacher, settings)[0].metrics["exact"].mean == 0.5


def test_scores_of_plain_text_that_stand_are_not_made_anew_for_their_messages(tmp_path: Path) -> None:
    rows = prompts(reference=False)
    events: list[Event] = []
    old, new = scoring(tmp_path, rows), scoring(tmp_path, rows, events)
    teacher, _ = ask_teacher(EchoTeacher(), new)
    old.teacher_answers["test"] = {"r0": "hello", "r1": "bye"}  # as they were kept before
    assert score(teacher, old) == score(teacher, new)
    assert [event.kind for event in events if event.stage == "evaluate echo"] == ["up-to-date"]


def test_a_file_on_its_device_is_scored_beside_the_same_file_here(tmp_path: Path) -> None:
    checkpoint = train(sample_examples(), TableTrainer(), tmp_path / "train")
    model = export(checkpoint, TableExporter(), tmp_path / "export")[0]
    here, there = model_subject(model, TableRunner()), device_subject(model, TableRunner())
    assert here.folder != there.folder
    found = [score(subject, scoring(tmp_path / "evaluate", prompts()))[0] for subject in (here, there)]
    assert [(one.kind, one.subject) for one in found] == [("model", model.label), ("device", model.label)]


def test_a_sample_is_of_the_first_set_and_keeps_its_own_keys(tmp_path: Path) -> None:
    rows = [Prompt(id=f"r{i}", messages=({"role": "user", "content": f"say {i}"},)) for i in range(SAMPLE + 5)]
    whole = replace(scoring(tmp_path, rows), sets={"test": rows, "more": rows[:3]})
    score(Subject(name="x", kind="base", identity={}, open=lambda: TableRunner().open(_table(tmp_path))), whole)
    some = a_sample(whole)
    assert {name: len(found) for name, found in some.sets.items()} == {"test": SAMPLE}
    assert some.row_keys == {}
    assert whole.row_keys


def _table(folder: Path) -> ModelFile:
    path = folder / "t.table"
    path.write_text("{}")
    return ModelFile.of(path, "F16")
