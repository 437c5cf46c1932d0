"""How much may be sent in a minute: what the user allows, and what the server says is left."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress

LONGEST_WAIT = 60.0
"""Seconds after which a request leaves whatever a header said; the server then says itself how long to wait."""

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s|)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}


class Bucket:
    """What is left of a limit per minute; it fills steadily, and holds what one second brings.

    Never more than the limit leaves in any 60 seconds, save what a single request takes beyond. Times are seconds of one
    monotonic clock, given by the caller.
    """

    def __init__(self, per_minute: int | None, now: float) -> None:
        self.taken = 0.0
        """All that was ever taken: a mark to tell what left after a request."""
        limit = per_minute or math.inf
        self._capacity = max(1.0, limit / 60)
        self._rate = (limit - self._capacity + 1) / 60 if per_minute else math.inf
        self._level, self._at = self._capacity, now
        self._told, self._told_rate, self._mark = math.inf, 0.0, -1.0

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until that much may leave; what is larger than the bucket needs a full one."""
        level, told = self._levels(now)
        own, theirs = min(amount, self._capacity) - level, amount - told
        seconds = own / self._rate if own > 1e-9 else 0.0
        if theirs > 1e-9:
            seconds = max(seconds, min(LONGEST_WAIT, theirs / self._told_rate if self._told_rate else LONGEST_WAIT))
        return seconds

    def holds(self, now: float) -> float:
        """Return how much may leave now."""
        return min(self._levels(now)) if self._rate < math.inf else self._levels(now)[1]

    def take(self, amount: float, now: float) -> None:
        """Reserve that much; the level may fall below nothing, and is then filled up first."""
        level, told = self._levels(now)
        self._level, self._told, self._at = level - amount, told - amount, now
        self.taken += amount

    def give_back(self, amount: float) -> None:
        """Correct a reservation by what was not used of it; less than nothing where more was used."""
        self._level = min(self._capacity, self._level + amount)

    def told(self, left: Left, mark: float, now: float) -> None:
        """Take over what the server says is left, less what left since the request whose answer says so."""
        if mark < self._mark:
            return  # an older request, answered late
        self._level, _ = self._levels(now)
        self._mark, self._at = mark, now
        self._told, self._told_rate = left.remaining - max(0.0, self.taken - mark), left.rate

    def _levels(self, now: float) -> tuple[float, float]:
        """Return what the own limit and the server's hold; other threads look too, so nothing is changed."""
        passed = now - self._at
        own = self._capacity if self._rate == math.inf else min(self._capacity, self._level + passed * self._rate)
        return own, self._told + passed * self._told_rate


class Left:
    """What a server says is left of a limit, and how fast it comes back, per second."""

    __slots__ = ("rate", "remaining")

    def __init__(self, remaining: float, rate: float) -> None:
        self.remaining, self.rate = remaining, rate


def left_of(headers: Mapping[str, str], what: str) -> Left | None:
    """Return what the `x-ratelimit-*` headers say of "requests" or "tokens"; None where they say nothing."""
    said = headers.get(f"x-ratelimit-remaining-{what}")
    remaining = _number(said) if said else None
    if remaining is None:
        return None
    limit, reset = _number(headers.get(f"x-ratelimit-limit-{what}")), seconds_of(headers.get(f"x-ratelimit-reset-{what}"))
    if limit is None or limit <= remaining:
        return Left(remaining, (limit or remaining) / 60)
    return Left(remaining, (limit - remaining) / reset if reset else limit / 60)


def seconds_of(span: str | None) -> float | None:
    """Return the seconds of a span such as "20ms", "7.66s", "6m0s" or "59"; None where it is none."""
    text = (span or "").strip()
    if not text or len(text) > 40 or _PART.sub("", text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def _number(text: str | None) -> float | None:
    with suppress(ValueError):
        number = float(text or "")
        return number if math.isfinite(number) and number >= 0 else None
    return None
