"""Read the sensors once a second beside the work, in a thread, and reckon the energy of what was done meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from pillm.errors import PillmError
from pillm.performance.sensors import Reading

if TYPE_CHECKING:
    from types import TracebackType

    from pillm.performance.sensors import Sensors

EVERY = 1.0
_MOST = 4000
Span = tuple[float, float]
"""Begin and end in seconds of `time.monotonic`."""


class Sampler:
    """Reads the sensors every second from entering to leaving, at the first and the last moment too."""

    def __init__(self, sensors: Sensors, every: float = EVERY) -> None:
        """Prepare to read the sensors; `every` is in seconds."""
        self._sensors, self._every = sensors, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sensors", daemon=True)
        self._readings: list[Reading] = []
        self.failed: str | None = None

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Return what was read so far."""
        return tuple(self._readings)

    def __enter__(self) -> Self:
        self._take()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(timeout=30.0)
        if self.failed is None:
            self._take()

    def _watch(self) -> None:
        while not self._over.wait(self._every) and self.failed is None:
            self._take()

    def _take(self) -> None:
        try:
            self._readings.append(self._sensors.read())
        except (PillmError, OSError) as error:  # the work is worth more than its thermometer
            self.failed = str(error)
            return
        if len(self._readings) > _MOST:
            del self._readings[1::2]


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
