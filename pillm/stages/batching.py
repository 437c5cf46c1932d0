"""Ask through a provider's batch queue: submit, wait, collect, and find again what an earlier run submitted."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from pillm.batches import BatchError, BatchStatus, BatchTeacher
from pillm.batchlog import Batch
from pillm.errors import Unavailable
from pillm.records import Answer, Failure, Prompt, Request, digest

if TYPE_CHECKING:
    from pillm.stages.labeller import Call, Feed, Labeller

T = TypeVar("T")
_LOOK_UP_EVERY = 0.2  # seconds: how soon a stop is noticed
_TRIES = 10
"""How often a question is asked that is refused in passing, after pauses that grow: minutes."""
_LOOKS = 60
"""Looks in a row that may fail in passing, an hour of them by default: a bad hour must not end a day's wait."""
_NO_ACCIDENT = 10
"""A batch of so many requests, all called invalid, says something of the teacher and nothing of the rows."""
_NO_RESULT = Failure("server", "the batch ended without a result for this request")


class Batching:
    """The batches of one pass: a call is recorded before its batch is submitted, a result before anything reads it."""

    def __init__(self, labeller: Labeller, teacher: BatchTeacher, feed: Feed) -> None:
        self._labeller, self._teacher, self._feed = labeller, teacher, feed
        self._store, self._mode = labeller.store, teacher.batch_mode()
        self._whose, self._at_once = digest(teacher.identity()), self._mode.at_once
        self._open: list[Batch] = []
        self._gone: dict[str, BatchError] = {}
        self._told: dict[str, tuple[int, int]] = {}

    def work(self, ask_one_by_one: Callable[[], None]) -> None:
        """Settle what can be settled, in batches where the mode is active, and wait for batches that rows wait for."""
        with self._stopping():
            self._take_up()
            _, trouble = self._look_at_all()  # also at those that no row asks about any more: results expire
            if trouble and not trouble.passing:
                raise trouble
        while not self._labeller.stopping:
            if self._mode.active:
                with self._stopping():
                    self._submit_all()
            else:
                ask_one_by_one()
            if not self._awaited():
                break
            with self._stopping():
                self._wait()
        self._conclude()

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Stop the run where the provider cannot be asked; all that is known of its batches is stored."""
        try:
            yield
        except Unavailable as error:
            self._labeller.stop(Failure("server", str(error), stop=True))

    def _conclude(self) -> None:
        """Say what is left with the provider, and stop a run whose rows wait for what is there no more."""
        if lost := next((error for name, error in self._gone.items() if name in self._wanted()), None):
            self._labeller.stop(Failure("server", str(lost), stop=True))
        if self._open:
            names = ", ".join(str(batch.id) for batch in self._open)
            self._labeller.progress.note(f"with the provider: {names}. The same command collects what becomes of it")

    def _wanted(self) -> set[str]:
        """Return the names of the batches that rows of this pass wait for."""
        return {call.batch.name for call in self._feed.calls.values() if call.batch and call.rows}

    def _awaited(self) -> list[Batch]:
        """Return the batches to wait for: where rows find no room, of batches or of money, any; else those rows wait for."""
        if self._feed.waits():
            return self._open
        wanted = self._wanted()
        return [batch for batch in self._open if batch.name in wanted]

    def _take_up(self) -> None:
        """Find the batches of earlier runs, and let the rows that ask the same wait for them."""
        for batch in self._store.open_batches(self._whose):
            if batch.id or (id := self._found(batch)):
                self._wait_for(batch)
                self._open.append(batch if batch.id else replace(batch, id=id))
        if self._open:
            requests = sum(batch.requests for batch in self._open)
            self._labeller.progress.note(f"{len(self._open)} batches of earlier runs are open: {requests:,} requests")

    def _wait_for(self, batch: Batch) -> None:
        self._feed.calls |= {call.request.key: call for call in self._calls(batch)}

    def _found(self, batch: Batch) -> str | None:
        """Return a batch's id, which nobody heard; None where it never arrived, or nobody can tell."""
        try:
            found = self._patiently(lambda: self._teacher.find(batch.name), lambda error: error.passing)
        except BatchError as error:
            if error.passing:
                raise
            self._wait_for(batch)
            self._miss(batch, error)
            return None
        if found is None:
            self._withdraw(batch)
        else:
            self._store.batch_submitted(batch.name, found)
        return found

    def _submit_all(self) -> None:
        """Submit batches until the provider holds as many as it may, or there is nothing to put into one."""
        while len(self._open) < self._at_once and not self._labeller.stopping and self._feed.peek() is not None:
            batch = self._store.batch_begun(secrets.token_hex(16), self._whose, self._mode.price, self._labeller.memory.since)
            requests = self._fill(batch)
            if not requests or self._labeller.interrupted:
                self._withdraw(batch)
                continue
            self._store.batch_filled(batch.name, len(requests))
            batch = replace(batch, id=self._hand_over(batch, requests))
            self._store.batch_submitted(batch.name, str(batch.id))
            self._open.append(batch)
            self._labeller.progress.note(f"batch {batch.id}: {len(requests):,} requests submitted")

    def _fill(self, batch: Batch) -> list[Request]:
        """Return the requests that a batch has room for."""
        requests: list[Request] = []
        room = self._mode.max_bytes
        with self._labeller.sending_in(batch):
            while len(requests) < self._mode.size and (request := self._feed.peek()) is not None:
                weight = self._teacher.measure(request)
                too_large = self._mode.max_bytes is not None and weight > self._mode.max_bytes
                if not too_large and room is not None and (room := room - weight) < 0:
                    break
                for pulled in islice(self._feed, 1):  # none after a stop
                    if too_large:
                        said = f"its request of {weight:,} bytes is larger than a batch may be ({self._mode.max_bytes:,})"
                        self._settle(self._feed.calls[pulled.key], Failure("server", f"{said}; alone it may be asked"))
                    else:
                        requests.append(pulled)
        return requests

    def _hand_over(self, batch: Batch, requests: list[Request]) -> str:
        try:
            return self._patiently(
                lambda: self._teacher.submit(requests, batch.name), lambda error: error.passing and error.taken is False
            )
        except BatchError as error:
            if error.taken is False:
                self._withdraw(batch)
            raise

    def _patiently(self, ask: Callable[[], T], passing: Callable[[BatchError], bool]) -> T:
        """Ask again, a few times, what was refused in passing."""
        for tries in range(1, _TRIES + 1):
            try:
                return ask()
            except BatchError as error:
                if not (passing(error) and tries < _TRIES and self._mode.wait):
                    raise
                self._pause(min(self._mode.poll, 2.0 ** (tries - 1)), error)
                if self._labeller.stopping:
                    raise
        raise AssertionError("the last try returns or raises")

    def _wait(self) -> None:
        """Wait until an awaited batch has ended, and store what became of every one that has."""
        in_a_row = 0
        while not self._labeller.stopping:
            ended, trouble = self._look_at_all()
            in_a_row = in_a_row + 1 if trouble else 0
            if trouble and not (trouble.passing and self._mode.wait and in_a_row < _LOOKS):
                raise trouble
            if ended or not self._awaited():
                return
            if not self._mode.wait:
                told = [self._told.get(batch.name, (0, 0)) for batch in self._open]
                done, total = (sum(counts) for counts in zip(*told, strict=True))
                self._labeller.stop(Failure("server", f"its batches are not done yet ({done} of {total})", stop=True))
                return
            self._pause(self._mode.poll, trouble)

    def _pause(self, seconds: float, trouble: BatchError | None) -> None:
        """Wait, after trouble as long as the provider says at least."""
        if trouble:
            seconds = max(seconds, trouble.wait)
            self._labeller.progress.note(f"{trouble}; asked again in {seconds:g} s")
        end = time.monotonic() + seconds
        while not self._labeller.stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_UP_EVERY))

    def _look_at_all(self) -> tuple[bool, BatchError | None]:
        """Look at every open batch, whatever became of the one before; say whether one ended, and what went wrong."""
        ended, trouble = False, None
        for batch in list(self._open):
            try:
                ended |= self._look(batch)
            except BatchError as error:
                if error.gone:
                    self._open.remove(batch)
                    self._miss(batch, error)
                    ended = True
                elif trouble is None or trouble.passing:
                    trouble = error
        return ended, trouble

    def _look(self, batch: Batch) -> bool:
        """Look at a batch and collect it where it has ended; say whether it has."""
        status = self._teacher.poll(str(batch.id))
        self._store.batch_missed(batch.name, gone=False)
        said = (status.done, status.total)
        if self._told.get(batch.name) != said and status.total:
            self._labeller.progress.note(f"batch {batch.id}: {status.done:,} of {status.total:,} done")
        self._told[batch.name] = said
        if status.ended:
            self._collect(batch, status)
            self._open.remove(batch)
        return status.ended

    def _collect(self, batch: Batch, status: BatchStatus) -> None:
        """Store every result of an ended batch, also where the run is stopping: it is paid for."""
        waiting = {call.request.key: call for call in self._calls(batch)}
        total, invalid = len(waiting), 0
        for key, result in self._teacher.collect(str(batch.id)):
            if (call := waiting.pop(key, None)) is not None:  # else it was stored before a kill, or is not ours
                invalid += isinstance(result, Failure) and result.kind == "invalid"
                self._settle(call, result)
        if status.failure and status.failure.stop:
            self._withdraw(batch)
            if len(self._open) > 1:  # it may have been one too many at once
                self._at_once = len(self._open) - 1
                self._labeller.progress.note(f"{status.failure.message}. Asked again when others have ended")
            else:
                self._labeller.stop(status.failure)
            return
        for call in waiting.values():
            self._settle(call, status.failure or _NO_RESULT)
        self._store.batch_ended(batch.name)
        if invalid == total >= _NO_ACCIDENT:
            said = f"batch {batch.id}: each of its {total:,} requests was refused; the first lines of failed.jsonl say why"
            self._labeller.stop(Failure("server", said, stop=True), fault_of_teacher=True)

    def _calls(self, batch: Batch) -> Iterator[Call]:
        """Yield the calls of a batch that have no outcome yet, with the rows that wait for them."""
        for key, number in self._store.batch_calls(batch.name).items():
            call = self._feed.calls.get(key)
            yield call if call and call.number == number else self._labeller.waited_for(_unknown(key), number, batch)

    def _settle(self, call: Call, result: Answer | Failure) -> None:
        self._labeller.hear(call, result)
        self._let_go(call)

    def _let_go(self, call: Call) -> None:
        """Let the rows of a call go on from what is known now."""
        if self._feed.calls.get(call.request.key) is call:
            del self._feed.calls[call.request.key]
        self._feed.settle(call)
        self._labeller.memory.fresh.clear()

    def _withdraw(self, batch: Batch) -> None:
        """Take back what was certainly not asked: it took nothing, and its rows are as they were."""
        calls = list(self._calls(batch))
        self._store.batch_withdrawn(batch.name)
        for call in calls:
            self._labeller.budget.settle(call.request, None)
            self._let_go(call)

    def _miss(self, batch: Batch, error: BatchError) -> None:
        """Give a batch up that the provider has no more, if that is wanted; else its rows go on waiting for it."""
        calls = list(self._calls(batch))
        for call in calls:  # it may have been billed
            self._labeller.budget.settle(call.request, None, billed=True)
        if not self._mode.give_up:
            self._gone[batch.name] = error
            self._store.batch_missed(batch.name, gone=True)
            return
        self._store.batch_ended(batch.name)
        self._labeller.progress.warn(f"{error}. It is given up: {len(calls):,} requests are asked anew, and may be paid twice")
        for call in calls:
            self._let_go(call)


def _unknown(key: str) -> Request:
    """Return a request of which an earlier run kept the key alone; a row that asks the same brings the rest."""
    return Request(key=key, prompt=Prompt(id=key, messages=()), messages=())
