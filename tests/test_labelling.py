"""Labelling asks once, keeps everything and accounts for every row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from pillm.contract import Contract
from pillm.errors import BackendError, ConfigError, DataError, Unavailable
from pillm.progress import Event, Progress
from pillm.records import Answer, Failure, Request
from pillm.rows import prompt_from_row
from pillm.stages.labelling import Labelling, forecast, label
from pillm.testing import DropFilter, EchoTeacher
from tests.questions import SCHEMA, Counting, prompts


def test_the_same_command_again_asks_nothing_and_says_up_to_date(tmp_path: Path) -> None:
    label(prompts(4), Counting(), tmp_path)
    again = Counting()
    assert label(prompts(4), again, tmp_path).up_to_date
    assert again.asked == []


def test_a_new_row_costs_one_row_and_order_ids_and_windows_cost_nothing(tmp_path: Path) -> None:
    label(prompts(4), Counting(), tmp_path)
    renamed = [prompt_from_row({"id": f"other-{i}", "user": f"question {i}"}) for i in (4, 2, 0, 1, 3)]
    again = Counting(window=7)
    label(renamed, again, tmp_path)
    assert again.asked == ["other-4"]


def test_identical_questions_are_asked_once(tmp_path: Path) -> None:
    teacher = Counting()
    twins = [prompt_from_row({"id": name, "user": "same"}) for name in "abc"]
    labelled = label(twins, teacher, tmp_path)
    assert teacher.asked == ["a"]
    assert [row.answer.content for row in labelled] == ["same"] * 3


def test_rows_that_arrive_answered_are_given_and_not_asked(tmp_path: Path) -> None:
    rows = [prompt_from_row({"id": "a", "user": "hi", "assistant": "hello"}), *prompts(1)]
    teacher = Counting()
    labelled = label(rows, teacher, tmp_path)
    assert teacher.asked == ["r0"]
    assert [(row.source, row.answer.content) for row in labelled] == [("given", "hello"), ("teacher", "question 0")]


def test_a_rejected_row_is_tried_again_with_another_sample(tmp_path: Path) -> None:
    class Improves(EchoTeacher):
        """Answers well at the second try."""

        name: ClassVar[str] = "improves"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            for request in requests:
                yield request, Answer('{"n": 1}' if request.sample else "no")

    labelled = label(prompts(2, schema=SCHEMA), Improves(), tmp_path, settings=Labelling(attempts=2))
    assert labelled.counts.answered == 2


@pytest.mark.parametrize(
    ("answer", "reason"), [(Answer("  "), "empty"), (Answer("half", finish_reason="length"), "token limit")]
)
def test_an_empty_or_cut_answer_is_rejected(tmp_path: Path, answer: Answer, reason: str) -> None:
    class Fixed(EchoTeacher):
        """Says one thing."""

        name: ClassVar[str] = "fixed"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            for request in requests:
                yield request, answer

    labelled = label(prompts(1), Fixed(), tmp_path)
    assert labelled.counts.rejected == 1
    assert reason in (tmp_path / "rejected.jsonl").read_text()


def test_a_failed_row_is_listed_and_asked_again_next_time(tmp_path: Path) -> None:
    class Flaky(Counting):
        """Loses the network on one row."""

        name: ClassVar[str] = "flaky"
        broken: bool = Field(True, json_schema_extra={"key": False})

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            for request, result in super().answer(requests):
                lost = self.broken and request.prompt.id == "r1"
                yield request, Failure("network", "connection reset") if lost else result

    labelled = label(prompts(3), Flaky(), tmp_path)
    assert (labelled.counts.answered, labelled.counts.failed) == (2, 1)
    assert "connection reset" in (tmp_path / "failed.jsonl").read_text()
    healed = Flaky(broken=False)
    assert label(prompts(3), healed, tmp_path).counts.answered == 3
    assert healed.asked == ["r1"]
    assert not (tmp_path / "failed.jsonl").exists()


def test_a_refused_row_is_asked_again_only_on_demand(tmp_path: Path) -> None:
    label(prompts(2), Counting(fails=("question 1",)), tmp_path)
    again = Counting(fails=("question 1",))
    assert label(prompts(2), again, tmp_path).counts.failed == 1
    assert again.asked == []
    label(prompts(2), again, tmp_path, settings=Labelling(retry=frozenset({"failed"})))
    assert again.asked == ["r1"]


def test_a_stop_feeds_nothing_more_and_keeps_what_is_there(tmp_path: Path) -> None:
    class Broke(EchoTeacher):
        """Runs out of quota after two answers."""

        name: ClassVar[str] = "broke"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            for number, request in enumerate(requests):
                yield request, Failure("quota", "the quota is used up", stop=True) if number == 2 else Answer("yes")

    with pytest.raises(Unavailable, match=r"quota is used up.*2 answered.*1 failed.*7 pending.*resumes") as caught:
        label(prompts(10), Broke(), tmp_path)
    assert caught.value.exit_code == 5
    again = Counting()
    label(prompts(10), again, tmp_path)
    assert len(again.asked) == 10  # another teacher: nothing of the first one's is taken for its own


def test_filters_run_before_anything_is_keyed_or_asked(tmp_path: Path) -> None:
    teacher = Counting()
    labelled = label(prompts(3), teacher, tmp_path, settings=Labelling(filters=(DropFilter(word="question 1"),)))
    assert teacher.asked == ["r0", "r2"]
    assert (labelled.counts.in_, labelled.counts.rejected) == (3, 1)
    assert "left out by a filter" in (tmp_path / "rejected.jsonl").read_text()
    assert not any(b"question 1" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_limit_tries_a_few_rows_first_and_the_rest_buys_only_the_rest(tmp_path: Path) -> None:
    label(prompts(6), Counting(), tmp_path, settings=Labelling(limit=2))
    teacher = Counting()
    label(prompts(6), teacher, tmp_path)
    assert teacher.asked == ["r2", "r3", "r4", "r5"]


def test_what_the_contract_tells_the_teacher_is_part_of_the_question(tmp_path: Path) -> None:
    label(prompts(1), Counting(), tmp_path)
    teacher = Counting()
    label(prompts(1), teacher, tmp_path, settings=Labelling(contract=Contract(system="Be brief.")))
    assert teacher.asked == ["r0"]


def test_no_rows_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows to label"):
        label([], EchoTeacher(), tmp_path)


def test_an_answer_to_a_request_that_was_never_pulled_is_the_plugins_fault(tmp_path: Path) -> None:
    class Confused(EchoTeacher):
        """Answers somebody else's question."""

        name: ClassVar[str] = "confused"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            request = next(requests)
            yield Request(key="v1:else", prompt=request.prompt, messages=()), Answer("?")

    with pytest.raises(BackendError, match="never pulled"):
        label(prompts(1), Confused(), tmp_path)


def test_a_broken_schema_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    rows = [*prompts(2, schema=SCHEMA), prompt_from_row({"id": "bad", "user": "?", "schema": {"type": "objekt"}}, where="f:3")]
    teacher = Counting()
    for look in (forecast, label):
        with pytest.raises(DataError, match=r"^f:3: the schema itself is wrong at \$\.type.*nothing was asked"):
            look(rows, teacher, tmp_path / "out")
    assert teacher.asked == []
    assert not (tmp_path / "out").exists()


class Cold(Counting):
    """Answers at a temperature."""

    name: ClassVar[str] = "cold"
    temperature: float = Field(0.0, description="How warm.")


def test_attempts_that_would_buy_the_same_answer_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    rows, twice = prompts(2), Labelling(attempts=2)
    for look in (forecast, label):
        with pytest.raises(ConfigError, match=r"attempts is 2.*temperature 0.*Nothing was asked.*attempts to 1"):
            look(rows, Cold(), tmp_path / "out", settings=twice)
    assert label(rows, Cold(temperature=0.5), tmp_path / "out", settings=twice).counts.answered == 2


def test_asking_for_what_was_rejected_says_where_the_answer_will_be_the_same(tmp_path: Path) -> None:
    seen: list[Event] = []
    again = Labelling(retry=frozenset({"rejected"}))
    label(prompts(1), Cold(), tmp_path, settings=again, progress=Progress("label", (seen.append,)))
    assert "as it did before" in next(event.message for event in seen if event.kind == "warning")


class SecondThoughts(Counting):
    """Answers with nothing first, and well when it is asked again."""

    name: ClassVar[str] = "second-thoughts"

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            yield request, Answer("well" if request.sample else "")


def test_an_answer_bought_by_asking_again_stays_whatever_is_asked_for_next(tmp_path: Path) -> None:
    def counts(*retry: str) -> tuple[int, int]:
        done = label(prompts(2), SecondThoughts(), tmp_path, settings=Labelling(retry=frozenset(retry))).counts
        return done.answered, done.rejected

    assert [counts(), counts("rejected"), counts("failed"), counts()] == [(0, 2), (2, 0), (2, 0), (2, 0)]


def test_a_limit_after_a_whole_run_takes_nothing_away(tmp_path: Path) -> None:
    label(prompts(5), EchoTeacher(), tmp_path)
    assert len(label(prompts(5), EchoTeacher(), tmp_path, settings=Labelling(limit=2))) == 5


def test_attempts_are_counted_over_runs(tmp_path: Path) -> None:
    label(prompts(1, schema=SCHEMA), Counting(), tmp_path)
    again = Counting()
    label(prompts(1, schema=SCHEMA), again, tmp_path, settings=Labelling(attempts=2))
    assert again.asked == ["r0"]


def test_a_lasting_refusal_does_not_keep_a_finished_run_from_being_up_to_date(tmp_path: Path) -> None:
    teacher = EchoTeacher(fails=("question 1",))
    label(prompts(2), teacher, tmp_path)
    assert label(prompts(2), teacher, tmp_path).up_to_date


def _said(tmp_path: Path, **settings: object) -> tuple[list[str], int | None]:
    """Label ten rows, of which the teacher answers two badly and one never; return the notes and the announced total."""
    seen: list[Event] = []
    rows = [*prompts(3, schema=SCHEMA), *(prompt_from_row({"id": f"x{i}", "user": f"free {i}"}) for i in range(7))]
    teacher = EchoTeacher(script={"question 0": '{"n": 1}'}, fails=("free 0",))
    label(rows, teacher, tmp_path, settings=Labelling(**settings), progress=Progress("label", (seen.append,)))  # type: ignore[arg-type]
    return [event.message for event in seen if event.kind == "note"], next(e.total for e in seen if e.kind == "start")


def test_rows_beyond_the_limit_and_rejected_and_failed_ones_are_not_called_answered(tmp_path: Path) -> None:
    beyond = "0 of 10 rows are answered already, 8 beyond the limit of 2 and not asked"
    assert _said(tmp_path, limit=2) == ([beyond], 2)
    second = "1 of 10 rows are answered already, 1 rejected before, 6 beyond the limit of 4 and not asked"
    assert _said(tmp_path, limit=4) == ([second], 4)
    third = "1 of 10 rows are answered already, 2 rejected before, 1 failed for good before"
    assert _said(tmp_path) == ([third], 10)
    left_out = "7 of 10 rows are answered already, 2 rejected before, 1 left out by a filter"
    assert _said(tmp_path, filters=(DropFilter(word="free 0"),)) == ([left_out], 10)
