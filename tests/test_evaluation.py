"""Evaluation: the same rows, the same code, whoever answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import pytest

from pillm.backends import Metric, Session, Teacher
from pillm.contract import Contract
from pillm.errors import BackendError, ConfigError, DataError, PluginError, StorageError, Unavailable
from pillm.metrics import Exact, Fields, SatisfiesSchema, ValidJSON
from pillm.progress import Event, Progress
from pillm.records import Answer, Failure, Prompt, Reference, Request
from pillm.rows import prompt_from_row
from pillm.stages.evaluation import Scope, evaluate
from pillm.stages.predictions import read_predictions

SCHEMA = {"type": "object", "required": ["a"]}


def row(id: str, truth: str | None = None, **fields: Any) -> Prompt:
    reference = Reference(message={"role": "assistant", "content": truth}) if truth is not None else None
    return Prompt(id=id, messages=({"role": "user", "content": f"say {id}"},), reference=reference, **fields)


class Canned(Session):
    """Answers from a dictionary, last row first."""

    def __init__(self, answers: dict[str, Answer | Failure | str]) -> None:
        self.answers = answers
        self.seen: list[Request] = []

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        self.seen = list(requests)
        for request in reversed(self.seen):
            if request.prompt.id in self.answers:
                found = self.answers[request.prompt.id]
                yield request, Answer(found) if isinstance(found, str) else found


class Hot(Teacher):
    """Says how warm it is."""

    name: ClassVar[str] = "hot"
    temperature: float = 0.7

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            yield request, Answer(str(self.temperature))


def test_every_metric_is_scored_on_every_row_it_applies_to() -> None:
    rows = [row("1", '{"a": 1}', schema=SCHEMA), row("2", '{"a": 2}', schema=SCHEMA), row("3", "yes")]
    subject = Canned({"1": '{"a":1}', "2": '{"b": 2}', "3": " yes "})
    found = evaluate(rows, subject, [Exact(), ValidJSON(), SatisfiesSchema(), Fields()])
    assert {name: (one.mean, one.rows) for name, one in found.metrics.items()} == {
        "exact": (pytest.approx(2 / 3), 3),
        "json": (1.0, 2),
        "schema": (0.5, 2),
        "fields": (0.5, 2),
    }
    assert (found.rows, found.kind, found.set, found.compared_with) == (3, "model", "test", "reference")
    assert found.metrics["exact"].low <= found.metrics["exact"].mean <= found.metrics["exact"].high


def test_a_failure_scores_zero_and_is_counted_and_recorded(tmp_path: Any) -> None:
    rows = [row("1", "yes"), row("2", "yes"), row("3", "yes", schema=SCHEMA)]
    subject = Canned({"1": "yes", "2": Failure("server", "it fell over"), "3": Failure("server", "again")})
    found = evaluate(rows, subject, [Exact(), ValidJSON()], out=tmp_path)
    assert found.metrics["exact"].mean == pytest.approx(1 / 3)
    assert (found.metrics["json"].mean, found.metrics["json"].rows) == (0.0, 1), "it applies to the third row alone"
    assert read_predictions(tmp_path)[1].failure == {"kind": "server", "message": "it fell over"}
    assert json.loads((tmp_path / "evaluation.json").read_text())["failed"] == 2


def test_a_row_that_the_subject_never_comes_back_to_is_a_failure(tmp_path: Any) -> None:
    found = evaluate([row("1", "yes"), row("2", "yes")], Canned({"1": "yes"}), [Exact()], out=tmp_path)
    assert found.metrics["exact"].mean == 0.5
    assert "no answer" in read_predictions(tmp_path)[1].failure["message"]  # type: ignore[index]


def test_an_answer_cut_by_its_length_is_scored_as_it_is_and_counted(tmp_path: Any) -> None:
    events: list[Event] = []
    scope = Scope(progress=Progress("evaluate", (events.append,)))
    found = evaluate(
        [row("1", "yes")], Canned({"1": Answer("yes", finish_reason="length")}), [Exact()], out=tmp_path, scope=scope
    )
    assert found.metrics["exact"].mean == 1.0
    assert json.loads((tmp_path / "evaluation.json").read_text())["cut"] == 1
    assert [event.kind for event in events] == ["start", "advance", "finish"]
    assert (events[-1].figures["cut"], events[-1].figures["exact"]) == (1.0, 1.0)
    assert "1 cut" in events[-1].message


def test_predictions_hold_prompt_reference_answer_and_scores_in_the_order_of_the_rows(tmp_path: Any) -> None:
    rows = [row("b", "x", tags=("fr",)), row("a")]
    evaluate(rows, Canned({"a": "1", "b": "2"}), [Exact()], out=tmp_path / "deep" / "folder")
    lines = [json.loads(line) for line in (tmp_path / "deep/folder/predictions.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "id": "b", "prompt": "say b", "reference": "x", "compared_with": "reference", "answer": "2", "finish_reason": "stop",
        "scores": {"exact": 0.0}, "failure": None, "tags": ["fr"], "group": None,
    }  # fmt: skip
    assert (lines[1]["id"], lines[1]["reference"], lines[1]["scores"]) == ("a", None, {})
    assert sorted(path.name for path in (tmp_path / "deep/folder").iterdir()) == ["evaluation.json", "predictions.jsonl"]


def test_the_same_answers_give_the_same_bytes_whatever_their_order(tmp_path: Any) -> None:
    rows = [row(str(number), "yes") for number in range(20)]
    answers = {one.id: "yes" if int(one.id) % 3 else "no" for one in rows}

    class Forward(Canned):
        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            return reversed(list(super().answer(requests)))

    evaluate(rows, Canned(answers), [Exact()], out=tmp_path / "one")
    evaluate(rows, Forward(answers), [Exact()], out=tmp_path / "two")
    assert (tmp_path / "one/predictions.jsonl").read_bytes() == (tmp_path / "two/predictions.jsonl").read_bytes()


def test_a_row_without_reference_is_compared_with_the_teacher_and_says_so() -> None:
    rows = [row("1"), row("2")]
    both = evaluate(rows, Canned({"1": "hi", "2": "ho"}), [Exact()], scope=Scope(compare_with={"1": "hi", "2": "hi"}))
    assert (both.metrics["exact"].mean, both.compared_with) == (0.5, "teacher")


def calling(name: str, arguments: Any, id: str = "1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_tool_calls_of_the_teacher_are_compared_and_kept_in_the_predictions(tmp_path: Any) -> None:
    said = {"role": "assistant", "content": "", "tool_calls": [calling("light", '{"on": true}')]}
    subject = Canned({
        "same": Answer("", tool_calls=(calling("light", {"on": True}, "7"),)), "empty": "",
        "other": Answer("", tool_calls=(calling("light", '{"on": false}'),)),
    })  # fmt: skip
    rows = [row(name) for name in ("same", "empty", "other")]
    scope = Scope(compare_with={one.id: said for one in rows})
    evaluate(rows, subject, [Exact()], out=tmp_path, scope=scope)
    found = read_predictions(tmp_path)
    assert [one.scores["exact"] for one in found] == [1.0, 0.0, 0.0]
    assert found[0].tool_calls == (calling("light", {"on": True}, "7"),)
    assert found[1].reference_tool_calls == tuple(said["tool_calls"])
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert ["tool_calls" in line for line in lines] == [True, False, True]


def test_a_row_that_brings_a_tool_call_as_its_answer_is_compared_with_it() -> None:
    prompt = prompt_from_row({
        "id": "1", "messages": [
            {"role": "user", "content": "light"},
            {"role": "assistant", "content": None, "tool_calls": [calling("light", '{"on": true}')]},
        ],
    })  # fmt: skip
    for answer, mean in ((Answer("", tool_calls=(calling("light", {"on": True}),)), 1.0), (Answer(""), 0.0)):
        assert evaluate([prompt], Canned({"1": answer}), [Exact()]).metrics["exact"].mean == mean


def test_the_last_line_says_on_how_many_rows_a_metric_was_scored() -> None:
    events: list[Event] = []
    scope = Scope(progress=Progress("evaluate", (events.append,)))
    evaluate([row("1", "yes"), row("2"), row("3")], Canned({"1": "yes", "2": "x", "3": "x"}), [Exact()], scope=scope)
    assert "3 rows, exact 1.000 (n=1)" in events[-1].message


def test_the_truth_goes_before_the_teacher() -> None:
    rows = [row("1", "truth"), row("2")]
    found = evaluate(rows, Canned({"1": "truth", "2": "hi"}), [Exact()], scope=Scope(compare_with={"1": "lie", "2": "hi"}))
    assert (found.metrics["exact"].mean, found.compared_with) == (1.0, "reference and teacher")


def test_what_a_teacher_answered_before_is_compared_with_as_the_teachers(tmp_path: Any) -> None:
    taught = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}
    rows = [prompt_from_row({**taught, "id": id, "provenance": {"source": "teacher"}}) for id in ("1", "2")]
    found = evaluate(rows, Canned({"1": "yes", "2": "yes"}), [Exact()], scope=Scope(compare_with={"2": "no"}))
    assert (found.compared_with, found.metrics["exact"].mean) == ("teacher", 0.5), "who is asked now goes first"
    given = evaluate([prompt_from_row({**taught, "id": "1"})], Canned({"1": "yes"}), [Exact()])
    assert given.compared_with == "reference"


def test_the_subject_sees_neither_the_truth_nor_a_given_answer() -> None:
    subject = Canned({"1": "x"})
    evaluate([row("1", "truth", given={"role": "assistant", "content": "truth"})], subject, [Exact()])
    assert subject.seen[0].prompt.reference is None
    assert subject.seen[0].prompt.given is None


def test_requests_are_made_by_the_contract() -> None:
    subject = Canned({"1": "x"})
    scope = Scope(contract=Contract(system="Be brief."), identity={"use": "it"})
    evaluate([row("1")], subject, [Exact()], scope=scope)
    assert subject.seen[0].messages[0] == {"role": "system", "content": "Be brief."}
    assert subject.seen[0].key == Contract(system="Be brief.").request(row("1"), {"use": "it"}).key


def test_a_teacher_is_asked_greedily_and_named_by_its_backend() -> None:
    found = evaluate([row("1", "0.0")], Hot(), [Exact()])
    assert (found.metrics["exact"].mean, found.subject, found.kind) == (1.0, "hot", "teacher")


def test_tags_are_scored_apart() -> None:
    rows = [row("1", "yes", tags=("fr", "home")), row("2", "yes", tags=("en", "home", "home"))]
    found = evaluate(rows, Canned({"1": "yes", "2": "no"}), [Exact()])
    assert {tag: (one["exact"].mean, one["exact"].rows) for tag, one in found.tags.items()} == {
        "en": (0.0, 1), "fr": (1.0, 1), "home": (0.5, 2),
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "error"), [("credentials", Unavailable), ("quota", Unavailable), ("crashed", BackendError)])
def test_a_failure_that_makes_asking_on_pointless_stops_instead_of_scoring_zero(kind: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="the key is void"):
        evaluate([row("1", "x")], Canned({"1": Failure(kind, "the key is void.", stop=True)}), [Exact()])


def test_repeated_ids_are_refused() -> None:
    with pytest.raises(DataError, match="share an id"):
        evaluate([row("1"), row("1")], Canned({}), [Exact()])


def test_an_answer_to_a_question_that_was_not_asked_is_a_fault_of_the_subject() -> None:
    class Twice(Canned):
        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            for request in requests:
                yield request, Answer("x")
                yield request, Answer("x")

    with pytest.raises(PluginError, match="answered before"):
        evaluate([row("1")], Twice({}), [Exact()])


def test_a_metric_that_breaks_is_named_with_the_row() -> None:
    class Broken(Metric):
        name: ClassVar[str] = "broken"

        def score(self, prompt: Prompt, answer: Answer) -> float | None:
            return 1 / 0

    class NotANumber(Metric):
        name: ClassVar[str] = "nan"

        def score(self, prompt: Prompt, answer: Answer) -> float | None:
            return float("nan")

    with pytest.raises(PluginError, match="'broken' failed on row '1': ZeroDivisionError"):
        evaluate([row("1")], Canned({"1": "x"}), [Broken()])
    with pytest.raises(PluginError, match="'nan' gave nan for row '1'"):
        evaluate([row("1")], Canned({"1": "x"}), [NotANumber()])


def test_a_metric_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="given twice"):
        evaluate([row("1", "x")], Canned({"1": "x"}), [Exact(), Exact()])


def test_no_rows_give_an_evaluation_without_figures() -> None:
    found = evaluate([], Canned({}), [Exact()])
    assert (found.rows, found.metrics, found.tags) == (0, {}, {})


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="could not be written"):
        evaluate([row("1")], Canned({"1": "x"}), [Exact()], out=tmp_path / "file")


def test_rows_may_be_a_generator_and_the_subject_may_pull_them_one_by_one() -> None:
    def rows() -> Iterable[Prompt]:
        yield from (row(str(number), "0.0") for number in range(3))

    assert evaluate(rows(), Hot(), [Exact()]).rows == 3
