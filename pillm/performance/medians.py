"""Medians with 95 % bootstrap intervals, their ratios, and how far samples are spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

RESAMPLES = 1000
_MANY = 200
"""Samples from which on the interval is read off their order: the bootstrap says the same, and takes long."""
_Z = 1.96
_TAIL = 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class Median:
    """The median of some samples with its 95 % interval; a single sample has no interval but itself."""

    value: float
    low: float
    high: float
    samples: tuple[float, ...] = ()


def median(samples: Sequence[float]) -> Median:
    """Return the median with its percentile bootstrap interval; raise ValueError without samples."""
    if len(samples) > _MANY:
        ordered, half = sorted(samples), _Z * len(samples) ** 0.5 / 2
        low, high = ordered[int(len(samples) / 2 - half)], ordered[int(len(samples) / 2 + half)]
    else:
        low, high = _interval(lambda random: statistics.median(random.choices(samples, k=len(samples))), samples)
    return Median(value=statistics.median(samples), low=low, high=high, samples=tuple(samples))


def ratio(samples: Sequence[float], base: Sequence[float]) -> Median:
    """Return how many times the median of `base` the median of `samples` is; both are resampled. ValueError without samples."""

    def drawn(random: Random) -> float:
        upper, lower = (statistics.median(random.choices(one, k=len(one))) for one in (samples, base))
        return upper / lower

    low, high = _interval(drawn, [*samples, *base] if samples and base else ())
    return Median(value=statistics.median(samples) / statistics.median(base), low=low, high=high)


def _interval(draw: Callable[[Random], float], samples: Sequence[float]) -> tuple[float, float]:
    if not samples:
        raise ValueError("no samples, so no median")
    random = Random(0)  # noqa: S311 - a resample, not a secret
    found = sorted(draw(random) for _ in range(RESAMPLES))
    return found[int(RESAMPLES * _TAIL)], found[RESAMPLES - 1 - int(RESAMPLES * _TAIL)]


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least `share` (0..1) of all are not above; raise ValueError without samples."""
    if not samples:
        raise ValueError("no samples, so no percentile")
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def spread(samples: Sequence[float]) -> float | None:
    """Return the standard deviation as a share of the mean, as llama-bench's ±; None for fewer than two samples."""
    return statistics.stdev(samples) / statistics.fmean(samples) if len(samples) > 1 else None
