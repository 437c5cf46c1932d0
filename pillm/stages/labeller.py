"""The engine of labelling: one pass over the rows, for every teacher alike."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial

from pillm.answers import AnswerStore, Verdict
from pillm.backends import Teacher
from pillm.batches import BatchTeacher
from pillm.batchlog import Batch
from pillm.errors import BackendError
from pillm.progress import Progress
from pillm.records import Answer, Failure, Request, digest
from pillm.stages.batching import Batching
from pillm.stages.budget import Budget
from pillm.stages.rowstates import Memory, Row, Sample, Standing
from pillm.stages.stopping import stopping
from pillm.validation import validate

SCHEMA_JUDGE = "pillm:schema"


class Labeller:
    """One pass over the rows: what is stored is taken, the rest is asked, every answer is judged.

    Only rows with a request in flight, or about to be sent, are held.
    """

    def __init__(self, teacher: Teacher, memory: Memory, store: AnswerStore, progress: Progress) -> None:
        self.teacher, self.memory, self.store, self.progress = teacher, memory, store, progress
        self.budget = Budget.of(memory.settings, teacher, store)
        self.stopped: Failure | None = None
        """The failure after which the teacher said that asking on is pointless."""
        self.interrupted = False
        self._streak: list[tuple[Call, Failure]] = []
        self._version = teacher.version()
        self._batch: Batch | None = None
        self._unjudged = False

    @property
    def stopping(self) -> bool:
        """Say whether nothing more is to be sent."""
        return self.interrupted or self.stopped is not None or self.budget.exhausted

    def work(self, rows: Iterable[Row]) -> None:
        """Settle every row that can be; `stopped`, `interrupted` and `budget` say why some were not."""
        feed = Feed(self, rows)
        if not feed.waits() and not self.waiting_batches():
            return
        with stopping(self), self.teacher.open() as teacher:
            ask_one_by_one = partial(self._ask_all, teacher, feed)
            if isinstance(teacher, BatchTeacher):
                Batching(self, teacher, feed).work(ask_one_by_one)
            else:
                ask_one_by_one()
        if not self.store.has_answers():
            self._blame_the_teacher()

    def waiting_batches(self) -> int:
        """Return how many batches of this teacher are open."""
        identity = self.memory.teacher
        return len(self.store.open_batches(digest(identity))) if isinstance(self.teacher, BatchTeacher) else 0

    def stop(self, failure: Failure, *, fault_of_teacher: bool = False) -> None:
        """Send nothing more, because of a failure; rows are not to blame where the teacher is at fault."""
        self.stopped = self.stopped or failure
        if fault_of_teacher:
            self._blame_the_teacher()

    def _ask_all(self, teacher: Teacher, feed: Feed) -> None:
        while feed.waits() and not self.stopping:
            before = feed.pulled
            self._ask(teacher, feed)
            if feed.pulled == before:  # it wants no more
                break

    def _ask(self, teacher: Teacher, feed: Feed) -> None:
        for request, result in teacher.answer(feed):
            call = feed.calls.pop(request.key, None)
            if call is None:
                raise BackendError(
                    f"teacher {teacher.name!r} answered a request that it never pulled, or twice: a bug of its plugin."
                )
            self.hear(call, result)
            feed.settle(call)
            self.memory.fresh.clear()
        for request in feed.lost():
            self.budget.settle(request, None, billed=True)

    def send(self, request: Request) -> Call:
        """Record that a request is about to be sent, and return the call."""
        reserved = self.budget.reserve(request)
        name = self._batch.name if self._batch else None
        number = self.store.sent(request, teacher=self.teacher.name, version=self._version, reserved=reserved, batch=name)
        return Call(request=request, number=number, batch=self._batch)

    @contextmanager
    def sending_in(self, batch: Batch) -> Iterator[None]:
        """Record what is sent meanwhile as part of a batch."""
        self._batch = batch
        try:
            yield
        finally:
            self._batch = None

    def waited_for(self, request: Request, number: int, batch: Batch) -> Call:
        """Return a call of an earlier run's batch whose result may still come."""
        self.budget.take_up(request, self.store.reserved(number))
        return Call(request=request, number=number, batch=batch)

    def hear(self, call: Call, result: Answer | Failure) -> None:
        """Store what became of a call, and judge it."""
        if isinstance(result, Failure):
            self._failed(call, result)
        else:
            self._answered(call, result)

    def heard(self, standing: Standing) -> None:
        """Record what is thought of the answers that a row has already, and take over those that other folders hold."""
        for sample in standing.samples:
            if sample.answer is None:
                continue
            key, verdict = sample.request.key, Verdict(judge=SCHEMA_JUDGE, accepted=sample.accepted, reason=sample.reason)
            if sample.elsewhere:
                self.store.taken_over(key, sample.answer, teacher=self.teacher.name, version=self._version)
            self.store.judged(key, verdict)

    def looked_at(self, standing: Standing) -> None:
        """Judge the answers of a row that came before the row was looked at."""
        if self._unjudged:
            self.heard(standing)

    def _answered(self, call: Call, answer: Answer) -> None:
        self._streak.clear()
        share = call.batch.price if call.batch else Decimal(1)
        kept = self.store.answered(call.request, call.number, answer, self.budget.settle(call.request, answer, share=share))
        if not call.rows:  # of an earlier run's batch: what its row demands is not known yet
            self._unjudged = True
            return
        found = validate(call.request.prompt, kept, self.memory.settings.checks)
        self.memory.fresh[call.request.key] = Sample(request=call.request, answer=kept, validation=found, call=call.number)
        verdict = Verdict(judge=SCHEMA_JUDGE, accepted=found.accepted, reason=found.reason)
        self.store.judged(call.request.key, verdict, first=True)

    def _failed(self, call: Call, failure: Failure) -> None:
        kept = self.store.failed(call.request, call.number, failure)
        self.budget.settle(call.request, None)
        if kept.kind == "refused":  # somebody is there and reads
            self._streak.clear()
        elif kept.kind == "invalid":
            self._streak.append((call, kept))
        if stop := kept if kept.stop else self.stopped:
            self.stop(stop, fault_of_teacher=True)

    def _blame_the_teacher(self) -> None:
        """Make the failures since the last answer ones that are asked again: one row is at fault, all of them never are."""
        streak, self._streak = self._streak, []
        for call, failure in streak:
            self.store.failed(call.request, call.number, replace(failure, kind="server"))


@dataclass(slots=True, kw_only=True)
class Call:
    """A request that was sent, its number in the store, and the rows that wait for it."""

    request: Request
    number: int
    batch: Batch | None = None
    """The batch that it is in, if any."""
    rows: list[Row] = field(default_factory=list)

    def join(self, row: Row, request: Request) -> None:
        """Let a row that asks the same wait too; of what an earlier run sent it knows more than the key."""
        self.request = self.request if self.rows else request
        self.rows.append(row)


class Feed(Iterator[Request]):
    """The requests of a pass, as a teacher pulls them: each is recorded as sent when it is pulled, equal ones are one."""

    def __init__(self, labeller: Labeller, rows: Iterable[Row]) -> None:
        self.calls: dict[str, Call] = {}
        """What is in flight, by key."""
        self.pulled = 0
        self._labeller, self._rows = labeller, iter(rows)
        self._queue: deque[tuple[Row, Request, int]] = deque()
        self._settled = 0
        self._queued: set[tuple[int, str]] = set()
        self._limit = labeller.memory.settings.limit

    @property
    def stopping(self) -> bool:
        """Say whether nothing more is to be sent; what was pulled and waits to be sent again is then given up."""
        return self._labeller.stopping

    def waits(self) -> bool:
        """Say whether a request waits to be pulled; rows are looked at until one does."""
        while not self._queue:
            row = next(self._rows, None)
            if row is None:
                return False
            if self._limit is None or row.number < self._limit:
                self._look(row)
        return True

    def settle(self, call: Call) -> None:
        """Look again at the rows that waited for a call: what its result makes necessary is asked next."""
        self._settled += 1
        for row in call.rows:
            self._look_again(row, call.request)

    def lost(self) -> Iterator[Request]:
        """Give up what a teacher pulled and did not answer, and yield it: its rows stay pending."""
        lost = [key for key, call in self.calls.items() if call.batch is None]
        yield from (self.calls.pop(key).request for key in lost)

    def peek(self) -> Request | None:
        """Return the request that is pulled next; None where there is none, or it may not be sent."""
        while not self.stopping and self.waits():
            row, request, settled = self._queue[0]
            if (call := self.calls.get(request.key)) is not None:
                self._queue.popleft()
                call.join(row, request)
            elif settled != self._settled and self._labeller.memory.knows(request):
                self._queue.popleft()  # it was asked by an equal row, or collected, since this one was looked at
                self._look_again(row, request)
            else:
                return request if self._labeller.budget.allows(request) else None
        return None

    def _look(self, row: Row) -> None:
        standing = self._labeller.memory.look(row)
        self._labeller.looked_at(standing)
        wanted = [(row, request) for request in standing.open if (row.number, request.key) not in self._queued]
        self._queued.update((row.number, request.key) for row, request in wanted)
        self._queue.extend((row, request, self._settled) for row, request in wanted)
        if not standing.open:
            self._labeller.progress.advance(1)

    def _look_again(self, row: Row, request: Request) -> None:
        self._queued.discard((row.number, request.key))
        self._look(row)

    def __next__(self) -> Request:
        if self.peek() is None:
            raise StopIteration
        row, request, _ = self._queue.popleft()
        call = self.calls[request.key] = self._labeller.send(request)
        call.rows.append(row)
        self.pulled += 1
        return request
