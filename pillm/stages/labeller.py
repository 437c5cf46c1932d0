"""The engine of labelling: one pass over the rows, for every teacher alike."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pillm.answers import AnswerStore, Verdict
from pillm.backends import Filter, Teacher
from pillm.contract import Contract
from pillm.errors import BackendError, ConfigError
from pillm.metrics import answer_json, schema_error
from pillm.progress import Progress
from pillm.records import Answer, Failure, Prompt, Request

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


@dataclass(slots=True, kw_only=True)
class Row:
    """A prompt on its way: its current request, its state, its answer, and why it was refused."""

    prompt: Prompt
    request: Request | None
    state: State = "pending"
    answer: Answer | None = None
    reason: str = ""
    calls: dict[str, int] = field(default_factory=dict)
    transient: bool = False
    """Whether a failed row may well be answered next time."""
    filtered: bool = False

    def fail(self, failure: Failure) -> None:
        """Record why the row got no answer."""
        self.state, self.reason = "failed", f"{failure.kind}: {failure.message}"
        self.transient = failure.kind not in LASTING


def given_answer(prompt: Prompt) -> Answer:
    """Return the answer that a row arrived with."""
    given = prompt.given or {}
    return Answer(
        str(given.get("content") or ""),
        reasoning=given.get("reasoning"),
        tool_calls=tuple(given.get("tool_calls") or ()),
    )


class Labeller:
    """One pass over the rows: what is stored is taken, the rest is asked, every answer is judged."""

    def __init__(self, teacher: Teacher, settings: Labelling, store: AnswerStore, progress: Progress) -> None:
        self.teacher, self.settings, self.store, self.progress = teacher, settings, store, progress
        self.stop: Failure | bool = False

    def work(self, rows: Sequence[Row]) -> Failure | bool:
        """Settle every row that can be; return the failure that stopped the run, True where a person did, else False."""
        open_rows = [(number, row) for number, row in enumerate(rows) if not self._settled(row)]
        waiting = [row for number, row in open_rows if self.settings.limit is None or number < self.settings.limit]
        beyond = len(open_rows) - len(waiting)
        self.progress.start(len(rows) - beyond)
        if len(rows) > len(waiting):
            self.progress.advance(len(rows) - len(open_rows))
            self.progress.note(self._not_asked(rows, beyond))
        if waiting:
            with _stops(self), self.teacher.open() as teacher:
                while waiting:
                    self._ask(teacher, waiting)
                    waiting = [row for row in waiting if row.state == "rejected" and self._may_try_again(row)]
                    if self.stop or not waiting:
                        break
                    self._resample(waiting)
        return self.stop

    def _not_asked(self, rows: Sequence[Row], beyond: int) -> str:
        """Return a sentence on the rows that this pass will not ask, each kind apart."""
        states = [row.state for row in rows]
        filtered = sum(row.filtered for row in rows)
        others = (
            (states.count("rejected") - filtered, "rejected before"),
            (states.count("failed"), "failed for good before"),
            (filtered, "left out by a filter"),
            (beyond, f"beyond the limit of {self.settings.limit} and not asked"),
        )
        told = [f"{states.count('answered')} of {len(rows)} rows are answered already"]
        return ", ".join([*told, *(f"{number} {what}" for number, what in others if number)])

    def _may_try_again(self, row: Row) -> bool:
        return row.request is not None and row.request.sample + 1 < self.settings.attempts

    def _settled(self, row: Row) -> bool:
        if row.filtered:
            return True
        if row.request is None:
            row.answer, row.state = given_answer(row.prompt), "answered"
            return True
        while (stored := self.store.answer(row.request.key)) is not None:
            self._judge(row, stored)
            again = row.state == "rejected" and ("rejected" in self.settings.retry or self._may_try_again(row))
            if not again:
                return True
            self._next_sample(row)
        failure = self.store.failure(row.request.key)
        if failure and "failed" not in self.settings.retry and failure.kind in LASTING:
            row.fail(failure)
            return True
        row.state = "pending"
        return False

    def _next_sample(self, row: Row) -> None:
        if row.request is not None:
            row.request = self.settings.contract.request(row.prompt, self.teacher.identity(), row.request.sample + 1)

    def _resample(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._next_sample(row)

    def _ask(self, teacher: Teacher, waiting: Sequence[Row]) -> None:
        by_key: dict[str, list[Row]] = {}
        for row in waiting:
            if row.request:
                by_key.setdefault(row.request.key, []).append(row)
        for request, result in teacher.answer(self._feed(by_key)):
            rows = by_key.get(request.key)
            if rows is None or request.key not in rows[0].calls:
                raise BackendError(f"teacher {teacher.name!r} answered a request that it never pulled: a bug of its plugin.")
            call = rows[0].calls[request.key]
            if isinstance(result, Failure):
                self.store.failed(request, call, result)
                for row in rows:
                    row.fail(result)
                if result.stop:
                    self.stop = result
            else:
                self.store.answered(request, call, result)
                for row in rows:
                    self._judge(row, result)
            if request.sample == 0:
                self.progress.advance(len(rows))

    def _feed(self, by_key: dict[str, list[Row]]) -> Iterator[Request]:
        version = self.teacher.version()
        for rows in by_key.values():
            if self.stop:
                if self.stop is True:
                    self.progress.warn("stopping: what is in flight is still stored; a second signal stops at once")
                return
            request = rows[0].request
            if request is None:
                continue
            rows[0].calls[request.key] = self.store.sent(request, teacher=self.teacher.name, version=version)
            yield request

    def _judge(self, row: Row, answer: Answer) -> None:
        reason = refusal_reason(row.prompt, answer)
        if row.request:
            self.store.judged(row.request.key, Verdict(judge="pillm:schema", accepted=not reason, reason=reason))
        row.answer, row.reason = answer, reason
        row.state = "rejected" if reason else "answered"


def refusal_reason(prompt: Prompt, answer: Answer) -> str:
    """Return why an answer cannot be trained on, or an empty string."""
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
    except ValueError as error:
        raise ConfigError(f"{prompt.where or prompt.id}: {error}.") from error
    return f"the answer does not satisfy the schema at {wrong}" if wrong else ""


@contextmanager
def _stops(labeller: Labeller) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the feeding, so that what is in flight is still stored; a second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: object) -> None:  # it may interrupt a write, so it only sets a flag
        if labeller.stop:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        labeller.stop = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
