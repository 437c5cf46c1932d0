"""A line to the server: one client on one event loop, its retries, and the pace that the server asks for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import pillm
from pillm_openai.faults import Fault, bytes_without, waiting_time
from pillm_openai.pace import _DICE, Limits, Pace, Ticket
from pillm_openai.reading import answer_of
from pillm_openai.wire import Wire

LONGEST_BACKOFF = 30.0
_PAUSES = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, and how often to try: seconds, seconds, retries, seconds of the first back-off."""

    timeout: float
    max_wait: float
    max_retries: int
    backoff: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request as it is sent: its bytes, its estimated tokens, whether tools are offered."""

    request: pillm.Request
    content: bytes
    tokens: int
    tools: bool


class Asker(Protocol):
    """Whoever asks on a line, as far as the line must know: it learns of room, and is halted where waiting is of no use."""

    halted: asyncio.Event

    def ticket(self, question: Question) -> Ticket:
        """Queue up for a place among those in flight."""

    def nudge(self) -> None:
        """Look for room."""

    async def pause(self, seconds: float) -> None:
        """Wait, or until it is halted."""

    def halt_now(self) -> None:
        """Send nothing any more; on the loop's thread."""


class Line:
    """An open line to one server: an event loop in a thread of its own, and one client on it."""

    def __init__(self, base_url: str, secret: str, patience: Patience, limits: Limits, *, near: bool) -> None:
        self._patience, self._secret, self.limits = patience, secret, limits
        self._wire = Wire(base_url, secret, timeout=patience.timeout, near=near, most=limits.concurrency)
        self.loop = asyncio.new_event_loop()
        self.pace = Pace(limits, patience.backoff, self.loop)
        self.thread = threading.Thread(target=self._run, name="pillm-openai", daemon=True)
        self.thread.start()

    def __repr__(self) -> str:
        return f"Line({self._wire})"

    def close(self) -> None:
        """Hang up."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def _run(self) -> None:
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self._hang_up())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()

    async def _hang_up(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._wire.close()

    async def ask(self, question: Question, ticket: Ticket, asker: Asker) -> pillm.Answer | pillm.Failure:
        """Send a question until it is answered or asking again is of no use; once the asker is halted nothing is sent."""
        attempt, last = 0, Fault("network", "it was never sent")
        while True:
            if not ticket.may_go.done():
                await ticket.may_go
                asker.nudge()  # whoever waited is gone: there may be room for another
            if asker.halted.is_set():
                self.pace.stay(ticket)
                # what kept the last try from an answer may pass, or there would be no other try
                return Fault(last.kind, f"{last.message}; the run was stopped").failure(attempt, self._secret)
            if self.pace.held():  # since the ticket was given
                self.pace.stay(ticket)
                ticket = asker.ticket(question)
                continue
            attempt += 1
            try:
                return await self._send(question, attempt, ticket, asker)
            except Fault as fault:
                if not fault.retry or attempt > self._patience.max_retries:
                    return fault.failure(attempt, self._secret)
                if fault.wait is not None and fault.wait > self._patience.max_wait:
                    text = f"{fault.message}; it asks to wait {fault.wait:.0f} s, longer than max_wait"
                    return Fault(fault.kind, text, stop=True).failure(attempt, self._secret)
                last = fault
            # also where the server asks to wait 0 s, or until a date that is past: it gave no answer after all
            await asker.pause(_DICE.uniform(0, min(LONGEST_BACKOFF, self._patience.backoff * 2**attempt)))
            ticket = asker.ticket(question)

    async def _send(self, question: Question, attempt: int, ticket: Ticket, asker: Asker) -> pillm.Answer:
        began, used = time.monotonic(), None

        def heard(status: int, headers: Mapping[str, str]) -> None:
            self.pace.told(headers, ticket)
            if status in _PAUSES or status >= 500:
                self._pause(asker, waiting_time(headers))

        try:
            body = bytes_without(self._secret, await self._wire.post(question.content, heard))
            answer = answer_of(body, {"seconds": time.monotonic() - began, "attempts": float(attempt)}, tools=question.tools)
            used = answer.usage.prompt_tokens + answer.usage.completion_tokens if answer.usage else None
            self.pace.answered()
            return answer
        except Fault as fault:
            if fault.kind == "rate":
                self.pace.refused()
            raise
        finally:
            self.pace.leave(ticket, used)

    def _pause(self, asker: Asker, seconds: float | None) -> None:
        """Obey a server that asks to wait, from the moment it is heard: nobody leaves any more."""
        if seconds is not None and seconds > self._patience.max_wait:
            asker.halt_now()
        elif seconds:
            self.pace.hold(seconds)
