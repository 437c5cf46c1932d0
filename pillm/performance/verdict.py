"""Whether a measurement may be compared: one that the machine disturbed is kept, and void."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pillm.performance.medians import spread
from pillm.performance.sensors import Reading, throttled_now, throttled_since_boot

SPREAD = 0.01
FELL = 0.95


def void_reasons(
    readings: Sequence[Reading], prefill: Sequence[float], *, swapped: int | None = None, most: float = SPREAD
) -> tuple[str, ...]:
    """Return why a measurement is void; empty where it counts.

    `prefill` are the samples of one prompt length, `swapped` the pages that moved meanwhile, `most` the largest spread that
    a quiet machine has.
    """
    reasons = [*_throttling(readings), *_clock(readings)]
    if swapped:
        reasons.append(f"{swapped} pages were swapped meanwhile")
    found = spread(prefill)
    if found is not None and found > most:
        reasons.append(f"prefill is spread by {found:.1%}, more than {most:.1%}")
    return tuple(reasons)


def _throttling(readings: Sequence[Reading]) -> list[str]:
    bits = [one.throttled for one in readings if one.throttled is not None]
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
    return [f"the throttle bits changed from {bits[0]:#x} to {bits[-1]:#x}: {said}"]


def _clock(readings: Sequence[Reading]) -> list[str]:
    """Say whether the fastest core became slower; the first reading is left out, for a clock rises when work begins."""
    fastest = [max(one.clocks_mhz) for one in readings[1:-1] if one.clocks_mhz]  # at the last one the work is over
    if not fastest or min(fastest) >= FELL * max(fastest):
        return []
    return [f"the clock fell from {max(fastest):.0f} to {min(fastest):.0f} MHz"]
