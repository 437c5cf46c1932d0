"""What is known of a row before a teacher is asked: its state, its answer, and the request that is still open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pillm.answers import AnswerStore
from pillm.backends import Filter, Teacher
from pillm.contract import Contract
from pillm.errors import ConfigError
from pillm.metrics import answer_json, schema_error
from pillm.records import Answer, Failure, JSONObject, Prompt, Request
from pillm.rows import given_example

State: TypeAlias = Literal["answered", "rejected", "failed", "pending"]
LASTING = ("refused", "invalid", "crashed")
"""Kinds of failure that asking again will not mend; such rows are asked again on demand only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelling:
    """How to label: answers tried per row, the prompt contract, row filters, how many rows, which to ask again."""

    attempts: int = 1
    contract: Contract = field(default_factory=Contract)
    filters: tuple[Filter, ...] = ()
    limit: int | None = None
    retry: frozenset[str] = frozenset()
    """States whose rows are asked again: "failed", "rejected" or both."""

    def check(self, teacher: Teacher) -> None:
        """Raise ConfigError where a further attempt would buy the same answer once more."""
        if self.attempts > 1 and not teacher.varies():
            raise ConfigError(
                f"attempts is {self.attempts}, but teacher {teacher.name!r} at temperature 0 answers a question that is asked "
                "again as it did before. Nothing was asked. Give the teacher a temperature (0.7, say), or set attempts to 1."
            )

    def calls_left(self, request: Request) -> int:
        """Return how often a row may still be asked, its open request included."""
        return max(1, self.attempts - request.sample)


@dataclass(slots=True, kw_only=True)
class Row:
    """A prompt on its way: its current request, its state, its answer, and why it was refused."""

    prompt: Prompt
    request: Request | None
    state: State = "pending"
    answer: Answer | None = None
    reason: str = ""
    transient: bool = False
    """Whether a failed row may well be answered next time."""
    filtered: bool = False

    def judge(self, answer: Answer) -> None:
        """Take an answer, or refuse it with the reason."""
        self.answer, self.reason = answer, refusal_reason(self.prompt, answer)
        self.state = "rejected" if self.reason else "answered"

    def fail(self, failure: Failure) -> None:
        """Record why the row got no answer."""
        self.state, self.reason = "failed", f"{failure.kind}: {failure.message}"
        self.transient = failure.kind not in LASTING


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the store says of rows under some settings. It only reads, so that a forecast may use it as a run does."""

    settings: Labelling
    teacher: JSONObject
    """What the teacher is: keys are made of it."""
    store: AnswerStore | None
    """None where nothing was stored yet."""

    def open_rows(self, rows: Sequence[Row], judged: Callable[[Row], object] = bool) -> tuple[list[Row], int]:
        """Settle what is known; return the rows to ask, and how many more there would be without the limit.

        `judged` hears of each stored answer that a row was judged by.
        """
        found = [(number, row) for number, row in enumerate(rows) if not self._settled(row, judged)]
        limit = self.settings.limit
        waiting = [row for number, row in found if limit is None or number < limit]
        return waiting, len(found) - len(waiting)

    def another_sample(self, row: Row) -> bool:
        """Open another request for a row whose answer was refused; return False where its attempts are used up."""
        if row.state != "rejected" or row.request is None or row.request.sample + 1 >= self.settings.attempts:
            return False
        self._next_sample(row, row.request)
        return True

    def _settled(self, row: Row, judged: Callable[[Row], object]) -> bool:
        if row.filtered:
            return True
        if row.request is None:
            row.answer, row.state = given_example(row.prompt).answer, "answered"
            return True
        while (stored := self._answer(row.request)) is not None:
            row.judge(stored)
            judged(row)
            if row.state != "rejected" or not self._goes_on(row.request):
                return True
            self._next_sample(row, row.request)
        failure = self.store.failure(row.request.key) if self.store else None
        if failure and "failed" not in self.settings.retry and failure.kind in LASTING:
            row.fail(failure)
            return True
        return False

    def _goes_on(self, request: Request) -> bool:
        """Say whether a refused answer is followed by another: one that may be asked for, or one that was bought already."""
        if "rejected" in self.settings.retry or request.sample + 1 < self.settings.attempts:
            return True
        return self._answer(self.settings.contract.request(request.prompt, self.teacher, request.sample + 1)) is not None

    def _answer(self, request: Request) -> Answer | None:
        return self.store.answer(request.key) if self.store else None

    def _next_sample(self, row: Row, request: Request) -> None:
        row.request = self.settings.contract.request(row.prompt, self.teacher, request.sample + 1)
        row.state = "pending"


def refusal_reason(prompt: Prompt, answer: Answer) -> str:
    """Return why an answer cannot be trained on, or an empty string. It never raises: the answer is paid for."""
    if not answer.content.strip() and not answer.tool_calls:
        return "the answer is empty"
    if answer.finish_reason == "length":
        return "the answer was cut at the token limit"
    if prompt.schema is None:
        return ""
    try:
        value = answer_json(answer.content)
    except ValueError as error:
        return f"the answer is not JSON: {error}"
    try:
        wrong = schema_error(prompt.schema, value)
    except (ValueError, RecursionError) as error:
        return f"the answer cannot be judged: {error}"
    return f"the answer does not satisfy the schema at {wrong}" if wrong else ""
