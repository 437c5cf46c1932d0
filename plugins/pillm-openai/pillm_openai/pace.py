"""When the next request may leave: one pace for all that are in flight to a server."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from pillm_openai.buckets import Bucket, left_of

_DICE = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many requests may be in flight, and how many requests and tokens may leave per minute."""

    concurrency: int
    rpm: int | None = None
    tpm: int | None = None


@dataclass(eq=False, slots=True)
class Ticket:
    """A request that wants to leave: its estimated tokens, who sends it, and whether it may go."""

    tokens: int
    owner: object
    may_go: asyncio.Future[bool]
    marks: tuple[float, float] = field(default=(0.0, 0.0))


class Pace:
    """The window of requests in flight, the pauses that the server asks for, and the limits per minute.

    The window shrinks where the server refuses: each 429 takes half a place away and each answer adds 1/window of one. A
    window that is refused throughout is thus halved, and one that is answered throughout grows by one; a stray refusal
    among fifty answers costs hardly anything. Everything runs on the event loop's thread, save `room` and `opens_in`.
    """

    def __init__(self, limits: Limits, spread: float, loop: asyncio.AbstractEventLoop) -> None:
        self.window = float(limits.concurrency)
        self.out = 0
        """Requests in flight."""
        self._limit, self._spread, self._loop = limits.concurrency, spread, loop
        now = loop.time()
        self._requests, self._tokens = Bucket(limits.rpm, now), Bucket(limits.tpm, now)
        self._queue: deque[Ticket] = deque()
        self._held, self._next, self._apart, self._typical = 0.0, 0.0, 0, 1.0
        self._timer: asyncio.TimerHandle | None = None

    def ticket(self, tokens: int, owner: object) -> Ticket:
        """Queue up; the ticket's `may_go` becomes true when the request may leave, false when its owner gives up."""
        ticket = Ticket(tokens, owner, self._loop.create_future())
        self._queue.append(ticket)
        self._admit()
        return ticket

    def leave(self, ticket: Ticket, used: int | None) -> None:
        """Take a request that is over out of the window; `used` are the tokens it took, None where that is unknown."""
        self.out -= 1
        if used is not None:
            self._tokens.give_back(ticket.tokens - used)
        self._admit()

    def stay(self, ticket: Ticket) -> None:
        """Give a place back that was not used, where the ticket had one."""
        if ticket.may_go.result():
            self.leave(ticket, used=0)

    def held(self) -> bool:
        """Say whether the server asked to wait, and still does."""
        return self._held > self._loop.time()

    def give_up(self, owner: object) -> None:
        """Let nobody of this owner leave any more."""
        for ticket in self._queue:
            if ticket.owner is owner and not ticket.may_go.done():
                ticket.may_go.set_result(False)

    def answered(self) -> None:
        """Widen the window a little."""
        self.window = min(float(self._limit), self.window + 1 / self.window)

    def refused(self) -> None:
        """Narrow the window by half a place."""
        self.window = max(1.0, self.window - 0.5)

    def hold(self, seconds: float) -> None:
        """Let nothing leave for that long, and then one after the other: a crowd would be refused again."""
        self._held = max(self._held, self._loop.time() + seconds)
        self._apart = int(self.window)

    def told(self, headers: Mapping[str, str], ticket: Ticket) -> None:
        """Take over what the server says is left of its limits."""
        now = self._loop.time()
        if left := left_of(headers, "requests"):
            self._requests.told(left, ticket.marks[0], now)
        if left := left_of(headers, "tokens"):
            self._tokens.told(left, ticket.marks[1], now)

    def room(self) -> int:
        """Return how many more requests could leave now."""
        if self._queue or self.opens_in() > 0:
            return 0
        now = self._loop.time()
        allowed = min(self._requests.holds(now), 1 + self._tokens.holds(now) / self._typical)
        return int(min(self.window - self.out, allowed))

    def opens_in(self) -> float:
        """Return the seconds until a small request could leave, if there is room in the window."""
        return self._wait(1, self._loop.time())

    def _wait(self, tokens: int, now: float) -> float:
        return max(self._held - now, self._next - now, self._requests.wait(1, now), self._tokens.wait(tokens, now), 0.0)

    def _admit(self) -> None:
        """Let leave who may, in the order of arrival."""
        now = self._loop.time()
        while self._queue:
            ticket = self._queue[0]
            if ticket.may_go.done():
                self._queue.popleft()
                continue
            if self.out >= int(self.window):
                return
            seconds = self._wait(ticket.tokens, now)
            if seconds > 0:
                if self._timer:
                    self._timer.cancel()
                self._timer = self._loop.call_later(seconds, self._admit)
                return
            self._queue.popleft()
            self._go(ticket, now)

    def _go(self, ticket: Ticket, now: float) -> None:
        self.out += 1
        self._requests.take(1, now)
        self._tokens.take(ticket.tokens, now)
        self._typical += (max(1, ticket.tokens) - self._typical) / 8
        ticket.marks = (self._requests.taken, self._tokens.taken)
        if self._apart:
            self._apart -= 1
            self._next = now + _DICE.uniform(0, 2 * self._spread / max(1.0, self.window))
        ticket.may_go.set_result(True)
