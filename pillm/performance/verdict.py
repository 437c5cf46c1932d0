"""Whether a measurement may be compared: one that the machine disturbed is kept, and void.

Each part of the work is judged by the readings of its own: a long run that makes a board hot says nothing against what was
timed before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pillm.performance.medians import spread
from pillm.performance.sampler import BETWEEN, IDLE, UNTOLD
from pillm.performance.sensors import Reading, throttled_now, throttled_since_boot

SPREAD = 0.01
DECODE = 5
"""How many times as far as prefill decode may be spread: a sample is fewer and shorter steps, each of which waits for a memory
that other programs use too, so that a machine which is quiet by its prefill still scatters more here."""
FELL = 0.95
HEADLINE = "headline"
"""The part of the work that gives speeds of reading and writing; it alone makes a measurement void."""


def void_reasons(
    readings: Sequence[Reading], prefill: Sequence[float], decode: Sequence[float] = (), *, most: float = SPREAD
) -> tuple[str, ...]:
    """Return why a measurement is void; empty where it counts.

    `readings` are those of the headline's part, `prefill` and `decode` the samples of one length each, `most` the largest
    spread of prefill that a quiet machine has; decode may be spread DECODE times as far.
    """
    reasons = list(disturbances(readings))
    for name, samples, limit in (("prefill", prefill, most), ("decode", decode, most * DECODE)):
        found = spread(samples)
        if found is not None and found > limit:
            reasons.append(f"{name} is spread by {found:.1%}, more than {limit:.1%}")
    return tuple(reasons)


def disturbances(readings: Sequence[Reading]) -> tuple[str, ...]:
    """Return what the machine did to a part of the work, of the readings from just before it to its end."""
    return (*_throttling(readings), *_clock(readings), *_swapping(readings))


def _throttling(readings: Sequence[Reading]) -> list[str]:
    known = [one for one in readings if one.throttled is not None]
    bits = [one.throttled or 0 for one in known]
    if not bits:
        return []
    if len(set(bits)) == 1:
        held = throttled_now(bits[0])
        return [f"held back throughout: {', '.join(held)}"] if held else []
    came = 0
    for earlier, later in pairwise(bits):
        came |= later & ~earlier
    words = dict.fromkeys([*throttled_now(came), *throttled_since_boot(came)])
    said = ", ".join(words) if words else "they were cleared"
    first = next(later for earlier, later in pairwise(known) if earlier.throttled != later.throttled)
    return [f"the throttle bits changed from {bits[0]:#x} to {bits[-1]:#x}{_in(first)}: {said}"]


def _clock(readings: Sequence[Reading]) -> list[str]:
    """Say whether the fastest core became slower under load; one that idles is slow, and rises when work begins."""
    loaded = [one for one in readings if one.clocks_mhz and one.phase not in (IDLE, BETWEEN, UNTOLD)]
    highest, worst = 0.0, None
    for one in loaded:
        clock = max(one.clocks_mhz)
        highest = max(highest, clock)
        if clock < FELL * highest and (worst is None or clock / highest < worst[1] / worst[0]):
            worst = (highest, clock, one)
    return [f"the clock fell from {worst[0]:.0f} to {worst[1]:.0f} MHz{_in(worst[2])}"] if worst else []


def _swapping(readings: Sequence[Reading]) -> list[str]:
    pages = [one.swapped for one in readings if one.swapped is not None]
    moved = pages[-1] - pages[0] if pages else 0
    return [f"{moved} pages were swapped meanwhile"] if moved > 0 else []


def _in(reading: Reading) -> str:
    """Return in which phase it was, where the reading says that there was one."""
    return f" in {reading.phase}" if reading.phase not in (None, IDLE, BETWEEN, UNTOLD) else ""
