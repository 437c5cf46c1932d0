"""Read the sensors once a second beside the work, in a thread, and reckon the energy of what was done meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from pillm.errors import PillmError
from pillm.performance.sensors import Reading

if TYPE_CHECKING:
    from types import TracebackType

    from pillm.performance.sensors import Sensors

EVERY = 1.0
IDLE, BETWEEN, UNTOLD = "idle", "between", "untold"
"""Phases in which nobody knows that the machine is under load: before the work, between two pieces of it, and all of it where
the runner does not tell when it computes."""
_MOST = 4000
Span = tuple[float, float]
"""Begin and end in seconds of `time.monotonic`."""


class Sampler:
    """Reads the sensors every second from entering to leaving, at the first and the last moment too.

    Each reading says during what it was taken, so that each part of the work is judged by its own.
    """

    def __init__(self, sensors: Sensors, every: float = EVERY) -> None:
        """Prepare to read the sensors; `every` is in seconds."""
        self._sensors, self._every = sensors, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sensors", daemon=True)
        self._readings: list[Reading] = []
        self._taking = threading.Lock()
        self._phase = IDLE
        self._parts: dict[str, Span] = {}
        self._bounds: set[float] = set()
        self.failed: str | None = None

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Return what was read so far."""
        return tuple(self._readings)

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the names of the parts that were done."""
        return tuple(self._parts)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Do a part of the work; when it is done the sensors are read, so that nothing that befell its end is missed."""
        begin = self._readings[-1].time if self._readings else 0.0
        self._bounds.add(begin)
        self._phase = BETWEEN
        yield
        self._phase = BETWEEN
        self.take()
        if self._readings:
            self._parts[name] = (begin, self._readings[-1].time)
            self._bounds.add(self._readings[-1].time)

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Say what is being done."""
        self._phase = phase
        try:
            yield
        finally:
            self._phase = BETWEEN

    def of(self, part: str) -> tuple[Reading, ...]:
        """Return the readings of a part, from the last one before it to the one when it was done; none of one not done."""
        if part not in self._parts:
            return ()
        begin, end = self._parts[part]
        return tuple(one for one in self._readings if begin <= one.time <= end)

    def __enter__(self) -> Self:
        self.take()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(timeout=30.0)
        self.take()

    def _watch(self) -> None:
        while not self._over.wait(self._every) and self.failed is None:
            self.take()

    def take(self) -> None:
        """Read the sensors now; one that cannot be read any more ends the sampling, and `failed` says why."""
        with self._taking:
            if self.failed is not None:
                return
            phase = self._phase
            try:
                reading = self._sensors.read()
            except (PillmError, OSError) as error:  # the work is worth more than its thermometer
                self.failed = str(error)
                return
            # a reading takes a moment; where the work ended meanwhile it is of neither
            if self._phase != phase and {self._phase, phase} & {IDLE, BETWEEN}:
                phase = BETWEEN
            self._readings.append(replace(reading, phase=phase))
            if len(self._readings) > _MOST:
                self._thin()

    def _thin(self) -> None:
        """Drop every second reading, save the newest and those that parts begin and end with."""
        last = len(self._readings) - 1
        self._readings = [
            one for place, one in enumerate(self._readings) if place % 2 == 0 or place == last or one.time in self._bounds
        ]


def joules(readings: Sequence[Reading], spans: Iterable[Span], idle_w: float) -> float | None:
    """Return the energy that was drawn within the spans beyond what idling takes; None where too little was read.

    Between two readings power is taken to change evenly. A span that no two readings enclose counts for nothing, and then
    nothing is returned.
    """
    known = [(one.time, one.power_w - idle_w) for one in readings if one.power_w is not None]
    total = 0.0
    for begin, end in spans:
        if len(known) < 2 or begin < known[0][0] or end > known[-1][0]:
            return None
        for (left, first), (right, second) in pairwise(known):
            low, high = max(left, begin), min(right, end)
            if high > low:
                slope = (second - first) / (right - left) if right > left else 0.0
                middle = first + slope * ((low + high) / 2 - left)
                total += middle * (high - low)
    return total
