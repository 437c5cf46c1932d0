"""One pass over the rows: what a teacher is handed, who is to blame for failures, and how a pass is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from pillm.errors import Unavailable
from pillm.records import Answer, Failure, Prompt, Request
from pillm.rows import prompt_from_row, read_lines
from pillm.stages.labelling import Labelling, forecast, label
from pillm.testing import EchoTeacher

INVALID = Failure("invalid", "400")


class Scripted(EchoTeacher):
    """Answers what a list says, else with the question."""

    name: ClassVar[str] = "scripted"
    says: dict[str, object] = Field(default_factory=dict, json_schema_extra={"key": False}, exclude=True)
    asked: list[str] = Field(default_factory=list, json_schema_extra={"key": False})

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            self.asked.append(request.prompt.id)
            said = self.says.get(request.prompt.id)
            yield request, said if isinstance(said, Answer | Failure) else Answer(request.prompt.text)


def prompts(count: int) -> list[Prompt]:
    return [prompt_from_row({"id": f"r{i}", "user": f"question {i}"}) for i in range(count)]


def asked_again(out: Path, count: int) -> list[str]:
    """Label with a teacher that is well again; return what it was asked, which is what was forecast."""
    expected, healed = forecast(prompts(count), Scripted(), out).to_ask, Scripted()
    label(prompts(count), healed, out)
    assert len(healed.asked) == expected
    return healed.asked


def test_rows_that_failed_up_to_a_stop_are_asked_again(tmp_path: Path) -> None:
    says = {"r1": INVALID, "r3": INVALID, "r4": INVALID, "r5": Failure("invalid", "400; 3 in a row", stop=True)}
    with pytest.raises(Unavailable, match=r"3 in a row.*4 failed.*2 pending.*resumes"):
        label(prompts(8), Scripted(says=says), tmp_path)
    assert asked_again(tmp_path, 8) == ["r3", "r4", "r5", "r6", "r7"], "r1 failed among answers: that one is at fault"


def test_what_comes_in_after_a_stop_is_asked_again_too(tmp_path: Path) -> None:
    class Late(Scripted):
        """Has three calls in flight when it stops."""

        name: ClassVar[str] = "scripted"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            pulled = [next(requests) for _ in range(3)]
            for request, stop in zip(pulled, (True, False, False), strict=True):
                yield request, Failure("invalid", "400", stop=stop)

    with pytest.raises(Unavailable):
        label(prompts(5), Late(), tmp_path)
    assert len(asked_again(tmp_path, 5)) == 5


def test_while_nothing_was_ever_answered_no_row_fails_for_good(tmp_path: Path) -> None:
    labelled = label(prompts(3), Scripted(says=dict.fromkeys(("r0", "r1", "r2"), INVALID)), tmp_path)
    assert (labelled.counts.failed, labelled.transient) == (3, 3)
    assert len(asked_again(tmp_path, 3)) == 3
    labelled = label(prompts(4), Scripted(says={"r3": INVALID}), tmp_path)
    assert (labelled.counts.failed, labelled.transient) == (1, 0), "others were answered: this row is at fault"


def test_a_refusal_shows_that_the_teacher_works(tmp_path: Path) -> None:
    says = {"r0": INVALID, "r1": Failure("refused", "no"), "r2": Failure("quota", "spent", stop=True)}
    with pytest.raises(Unavailable):
        label(prompts(4), Scripted(says=says), tmp_path)
    assert asked_again(tmp_path, 4) == ["r2", "r3"]


def test_what_is_handed_to_a_teacher_says_when_nothing_more_may_be_sent(tmp_path: Path) -> None:
    seen: list[bool] = []

    class Looks(EchoTeacher):
        """Looks at its requests."""

        name: ClassVar[str] = "looks"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            first = next(requests)
            seen.append(requests.stopping)  # type: ignore[attr-defined]
            yield first, Failure("quota", "spent", stop=True)
            seen.append(requests.stopping)  # type: ignore[attr-defined]
            assert next(requests, None) is None

    with pytest.raises(Unavailable):
        label(prompts(2), Looks(), tmp_path)
    assert seen == [False, True]


def test_a_stop_between_attempts_leaves_rows_pending_and_they_are_tried_again(tmp_path: Path) -> None:
    class Stops(Scripted):
        """Answers nothing at first, and stops at the second attempt."""

        name: ClassVar[str] = "scripted"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            for request in requests:
                yield request, Failure("quota", "spent", stop=True) if request.sample else Answer("")

    with pytest.raises(Unavailable, match=r"1 failed \+ 2 pending"):
        label(prompts(3), Stops(), tmp_path, settings=Labelling(attempts=2))
    healed = Scripted()
    assert label(prompts(3), healed, tmp_path, settings=Labelling(attempts=2)).counts.answered == 3
    assert len(healed.asked) == 3


def test_half_of_a_surrogate_pair_is_stored_as_what_it_is_worth(tmp_path: Path) -> None:
    call = {"function": {"name": "f", "arguments": '{"x": "\ud83d"}'}}
    says = {"r0": Answer("a\ud83d", tool_calls=(call,), raw=b"sent"), "r1": Failure("refused", "no\udc00")}
    labelled = label(prompts(3), Scripted(says=says), tmp_path)
    first = next(iter(labelled)).answer
    assert (first.content, first.tool_calls[0]["function"]["arguments"]) == ("a\ufffd", '{"x": "\ufffd"}')
    assert [row["refused"]["reason"] for _, row in read_lines(tmp_path / "failed.jsonl")] == ["refused: no\ufffd"]
    assert label(prompts(3), Scripted(), tmp_path).up_to_date
