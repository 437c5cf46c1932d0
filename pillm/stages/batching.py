"""Ask through a provider's batch queue: submit, wait, collect, and find again what an earlier run submitted."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from pillm.batches import BatchMode, BatchStatus, BatchTeacher
from pillm.batchlog import Batch
from pillm.errors import Unavailable
from pillm.records import Answer, Failure, Prompt, Request, digest

if TYPE_CHECKING:
    from pillm.stages.labeller import Feed, Labeller

_LOOK_UP_EVERY = 0.2  # seconds: how soon a stop is noticed
_NEVER_ARRIVED = Failure("server", "its batch never reached the provider")
_NO_RESULT = Failure("server", "the batch ended without a result for this request")


class Batching:
    """The batches of one pass: a call is recorded before its batch is submitted, a result before anything reads it."""

    def __init__(self, labeller: Labeller, teacher: BatchTeacher, feed: Feed) -> None:
        self._labeller, self._teacher, self._feed = labeller, teacher, feed
        self._mode = teacher.batch_mode()
        self._whose = digest(teacher.identity())
        self._open: list[Batch] = []
        self._told: dict[str, tuple[int, int]] = {}

    def work(self) -> None:
        """Settle what can be settled through batches; without a batch mode only what earlier runs submitted."""
        with self._stopping():
            self._take_up()
            while not self._labeller.stopping:
                while self._mode and len(self._open) < self._mode.at_once and self._submit(self._mode):
                    pass
                if not self._open:
                    return
                self._wait(self._mode or BatchMode())
        if self._open:
            names = ", ".join(str(batch.id) for batch in self._open)
            self._labeller.progress.note(f"with the provider: {names}. The same command collects what becomes of it")

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Stop the run where the provider cannot be asked; all that is known of its batches is stored."""
        try:
            yield
        except Unavailable as error:
            self._labeller.stopped = self._labeller.stopped or Failure("server", str(error), stop=True)

    def _take_up(self) -> None:
        """Find the batches of earlier runs, and let the rows that ask the same wait for them."""
        for batch in self._labeller.store.open_batches(self._whose):
            found = batch.id or self._teacher.find(batch.name)
            waiting = {key: self._labeller.waited_for(_unknown(key), number) for key, number in self._calls(batch)}
            if found is None:
                for call in waiting.values():
                    self._labeller.hear(call, _NEVER_ARRIVED)
                self._labeller.store.batch_ended(batch.name)
                continue
            if batch.id is None:
                self._labeller.store.batch_submitted(batch.name, found)
            self._feed.calls.update(waiting)
            self._open.append(Batch(batch.name, found))

    def _calls(self, batch: Batch) -> list[tuple[str, int]]:
        return list(self._labeller.store.batch_calls(batch.name).items())

    def _submit(self, mode: BatchMode) -> bool:
        """Submit the next batch; say whether there was anything to put into it."""
        if self._labeller.stopping or not self._feed.waits():
            return False
        store, name = self._labeller.store, secrets.token_hex(16)
        store.batch_begun(name, self._whose)
        with self._labeller.sending_in(name):
            requests = list(islice(self._feed, mode.size))
        if not requests:
            store.batch_dropped(name)
            return False
        batch = Batch(name, self._teacher.submit(requests, name))
        store.batch_submitted(name, str(batch.id))
        self._open.append(batch)
        self._labeller.progress.note(f"batch {batch.id}: {len(requests):,} requests submitted")
        return True

    def _wait(self, mode: BatchMode) -> None:
        """Wait until a batch has ended, and store what became of it."""
        while not self._labeller.stopping:
            states = [(batch, self._teacher.poll(str(batch.id))) for batch in self._open]
            for batch, status in states:
                self._tell(batch, status)
                if status.ended:
                    self._collect(batch, status)
            if any(status.ended for _, status in states):
                return
            if not mode.wait:
                done, total = (sum(getattr(status, name) for _, status in states) for name in ("done", "total"))
                self._labeller.stopped = Failure("server", f"its batches are not done yet ({done} of {total})", stop=True)
                return
            self._pause(mode.poll)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._labeller.stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_UP_EVERY))

    def _tell(self, batch: Batch, status: BatchStatus) -> None:
        said = (status.done, status.total)
        if self._told.get(batch.name) != said and status.total:
            self._told[batch.name] = said
            self._labeller.progress.note(f"batch {batch.id}: {status.done:,} of {status.total:,} done")

    def _collect(self, batch: Batch, status: BatchStatus) -> None:
        """Store every result of an ended batch, also where the run is stopping: it is paid for."""
        open_calls = dict(self._calls(batch))
        for key, result in self._teacher.collect(str(batch.id)):
            if (number := open_calls.pop(key, None)) is not None:  # else it was stored before a kill, or is not ours
                self._settle(key, number, result)
        for key, number in open_calls.items():
            self._settle(key, number, status.failure or _NO_RESULT)
        self._labeller.store.batch_ended(batch.name)
        self._open.remove(batch)

    def _settle(self, key: str, number: int, result: Answer | Failure) -> None:
        call = self._feed.calls.pop(key, None) or self._labeller.waited_for(_unknown(key), number)
        self._labeller.hear(call, result)
        self._feed.settle(call)
        self._labeller.memory.fresh.clear()


def _unknown(key: str) -> Request:
    """Return a request of which an earlier run kept the key alone; a row that asks the same brings the rest."""
    return Request(key=key, prompt=Prompt(id=key, messages=()), messages=())
