"""The engine of labelling: one pass over the rows, for every teacher alike."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue

from pillm.answers import AnswerStore, Verdict
from pillm.backends import Teacher
from pillm.errors import BackendError
from pillm.progress import Progress
from pillm.records import Answer, Failure, Request
from pillm.stages.rowstates import Labelling, Memory, Row


class Labeller:
    """One pass over the rows: what is stored is taken, the rest is asked, every answer is judged."""

    def __init__(self, teacher: Teacher, settings: Labelling, store: AnswerStore, progress: Progress) -> None:
        self.teacher, self.settings, self.store, self.progress = teacher, settings, store, progress
        self.memory = Memory(settings=settings, teacher=teacher.identity(), store=store)
        self.stopped: Failure | None = None
        """The failure after which the teacher said that asking on is pointless."""
        self.interrupted = False
        self._streak: list[tuple[Call, Failure]] = []
        self._version = teacher.version()

    @property
    def stopping(self) -> bool:
        """Say whether nothing more is to be sent."""
        return self.interrupted or self.stopped is not None

    def work(self, rows: Sequence[Row]) -> None:
        """Settle every row that can be; `stopped` and `interrupted` say why some were not."""
        waiting, beyond = self.memory.open_rows(rows, self._judged)
        known = len(rows) - len(waiting) - beyond
        self.progress.start(len(rows) - beyond)
        if len(rows) > len(waiting):
            self.progress.advance(known)
            self.progress.note(self._not_asked(rows, beyond))
        if waiting:
            with _stops(self), self.teacher.open() as teacher:
                while waiting and not self.stopping:
                    self._ask(teacher, waiting)
                    waiting = [row for row in waiting if self.memory.another_sample(row)]
            if not self.store.has_answers():
                self._blame_the_teacher()

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

    def _ask(self, teacher: Teacher, waiting: Sequence[Row]) -> None:
        feed = Feed(self, waiting)
        for request, result in teacher.answer(feed):
            call = feed.calls.get(request.key)
            if call is None:
                raise BackendError(f"teacher {teacher.name!r} answered a request that it never pulled: a bug of its plugin.")
            if isinstance(result, Failure):
                self._failed(call, result)
            else:
                self._answered(call, result)
            if request.sample == 0:
                self.progress.advance(len(call.rows))

    def sent(self, request: Request) -> int:
        """Record that a request is about to be sent, and return the call's number."""
        return self.store.sent(request, teacher=self.teacher.name, version=self._version)

    def _answered(self, call: Call, answer: Answer) -> None:
        self._streak.clear()
        kept = self.store.answered(call.request, call.number, answer)
        for row in call.rows:
            row.judge(kept)
            self._judged(row)

    def _judged(self, row: Row) -> None:
        if row.request:
            verdict = Verdict(judge="pillm:schema", accepted=not row.reason, reason=row.reason)
            self.store.judged(row.request.key, verdict)

    def _failed(self, call: Call, failure: Failure) -> None:
        kept = self.store.failed(call.request, call.number, failure)
        for row in call.rows:
            row.fail(kept)
        if kept.kind == "refused":  # somebody is there and reads
            self._streak.clear()
        elif kept.kind == "invalid":
            self._streak.append((call, kept))
        if kept.stop:
            self.stopped = self.stopped or kept
        if self.stopped:
            self._blame_the_teacher()

    def _blame_the_teacher(self) -> None:
        """Make the failures since the last answer ones that are asked again: one row is at fault, all of them never are."""
        streak, self._streak = self._streak, []
        for call, failure in streak:
            self._failed(call, replace(failure, kind="server"))


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was sent for the rows that make it, and its number in the store."""

    rows: Sequence[Row]
    request: Request
    number: int


class Feed(Iterator[Request]):
    """The requests of a pass, as a teacher pulls them: each is recorded as sent when it is pulled, equal ones are one."""

    def __init__(self, labeller: Labeller, waiting: Iterable[Row]) -> None:
        rows_of: dict[str, tuple[Request, list[Row]]] = {}
        for row in waiting:
            if row.request:
                rows_of.setdefault(row.request.key, (row.request, []))[1].append(row)
        self.calls: dict[str, Call] = {}
        """What was pulled so far, by key."""
        self._labeller, self._left = labeller, iter(rows_of.values())

    @property
    def stopping(self) -> bool:
        """Say whether nothing more is to be sent; what was pulled and waits to be sent again is then given up."""
        return self._labeller.stopping

    def __next__(self) -> Request:
        if self.stopping:
            raise StopIteration
        request, rows = next(self._left)
        self.calls[request.key] = Call(rows, request, self._labeller.sent(request))
        return request


@contextmanager
def _stops(labeller: Labeller) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the sending, so that what is in flight is still stored; a second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: SimpleQueue[bool] = SimpleQueue()

    def handle(number: int, _frame: object) -> None:
        # it may interrupt a write: it sets a flag, and leaves the telling to a thread by the one queue that allows this
        if labeller.interrupted:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        labeller.interrupted = True
        heard.put(True)

    def tell() -> None:
        if heard.get():
            labeller.progress.warn("stopping: what is in flight is still stored; a second signal stops at once")

    teller = threading.Thread(target=tell, name="pillm-stopping", daemon=True)
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    teller.start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        heard.put(False)
        teller.join()
