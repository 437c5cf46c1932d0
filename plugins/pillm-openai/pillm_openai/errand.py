"""What one call of `answer` has on a line: questions in on the caller's thread, results out there."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress

import pillm
from pillm_openai.line import Line, Question
from pillm_openai.pace import Ticket

Outcome = pillm.Answer | pillm.Failure


class Errand:
    """What one call of `answer` has on the line: questions go in on the caller's thread, results come out there."""

    def __init__(self, line: Line) -> None:
        self.asked = 0
        """Questions without a result that was taken."""
        self.halted = asyncio.Event()
        self._line = line
        self._posted: deque[Question] = deque()
        self._done: deque[tuple[Question, Outcome | BaseException]] = deque()
        # not SimpleQueue: its `get` forgets its timeout where a signal comes just before the end (CPython 3.11)
        self._bell = threading.Lock()
        self._bell.acquire()
        self._tasks: set[asyncio.Task[None]] = set()

    def room(self) -> int:
        """Return how many questions could be sent at once."""
        return min(self._line.limits.concurrency - self.asked, self._line.pace.room() - len(self._posted))

    def post(self, question: Question) -> None:
        """Hand in a question."""
        self.asked += 1
        self._posted.append(question)
        if len(self._posted) == 1:  # else the loop was told already, and takes all it finds
            self._line.loop.call_soon_threadsafe(self._start)

    def take(self, seconds: float) -> tuple[pillm.Request, Outcome] | None:
        """Return the next result, or None where none came in time or there may be room for a question."""
        if not self._done:
            self._bell.acquire(timeout=min(seconds, max(0.001, self._line.pace.opens_in() or seconds)))
            if not self._done and not self._line.thread.is_alive():
                raise RuntimeError("the line to the server is gone")
        if not self._done:
            return None
        question, result = self._done.popleft()
        self.asked -= 1
        if isinstance(result, BaseException):
            raise result
        return question.request, result

    def halt(self) -> None:
        """Send nothing any more; what is in flight is awaited."""
        self._line.loop.call_soon_threadsafe(self.halt_now)

    def halt_now(self) -> None:
        """Send nothing any more; on the loop's thread."""
        self.halted.set()
        self._line.pace.give_up(self)

    def close(self) -> None:
        """Halt, and wait for what is in flight."""
        self.halt()
        while self.asked and self._line.thread.is_alive():
            self.take(1.0)

    def nudge(self) -> None:
        """Make the caller look: for a result, or for room."""
        with suppress(RuntimeError):  # it was told already
            self._bell.release()

    async def pause(self, seconds: float) -> None:
        """Wait, or until the errand is halted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.halted.wait()

    def _start(self) -> None:
        while self._posted:
            question = self._posted.popleft()
            task = self._line.loop.create_task(self._follow(question, self.ticket(question)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def ticket(self, question: Question) -> Ticket:
        """Queue up for a place among those in flight."""
        ticket = self._line.pace.ticket(question.tokens, self)
        if self.halted.is_set():
            self._line.pace.give_up(self)
        return ticket

    async def _follow(self, question: Question, ticket: Ticket) -> None:
        try:
            result: Outcome | BaseException = await self._line.ask(question, ticket, self)
        except BaseException as error:  # noqa: BLE001  a bug keeps its traceback, on the thread that can tell of it
            result = error
        if isinstance(result, pillm.Failure) and result.stop:
            self.halt_now()
        self._done.append((question, result))
        self.nudge()
