"""Means with 95 % intervals, and paired differences, without numpy.

The intervals are percentiles of the bootstrap; but scores that are all 0 or all 1 give every resample the same mean, and
10 of 10 is not certainty: there the interval is Wilson's.

Rows of one group (phrasings of one template, say) succeed and fail together, so whole groups are resampled: counting
them as independent would promise intervals that are too narrow. Most groups, and most rows that stand alone, share one
score (1.0 of a good student). A resample is a binomial number of others, and only those have to be drawn.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from math import fsum, lgamma, log, sqrt
from random import Random
from statistics import NormalDist
from typing import TYPE_CHECKING

from pillm.artifacts import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESAMPLES = 1000
TAIL = 0.025
Z = NormalDist().inv_cdf(1 - TAIL)
MIN_UNITS = 6
"""Groups, or rows that stand alone, below which nothing is certain: even if all agree, chance does that in 2 of 2**5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The mean of `right - left` over the rows that both were scored on, with its paired bootstrap 95 % interval."""

    mean: float
    low: float
    high: float
    rows: int
    better: int
    """Rows on which the right subject scored higher."""
    worse: int
    units: int
    """What was resampled: groups, and rows that stand alone."""

    @property
    def certain(self) -> bool:
        """Return whether the interval leaves out zero and enough groups or rows speak for it."""
        return self.units >= MIN_UNITS and (self.low > 0 or self.high < 0)


def figure(values: Sequence[float], *, groups: Sequence[str | None] = (), seed: int = 0) -> Figure:
    """Return the mean of some scores with its 95 % interval; raise ValueError without scores.

    `groups` names each score's group; None, or no groups at all, makes it one of its own. The interval is a percentile
    bootstrap over groups; where all scores are 0 or all are 1 it is the Wilson interval, each group counted once.
    """
    mean, low, high = _interval(values, groups, seed)
    if set(values) in ({0.0}, {1.0}):
        low, high = _wilson(mean, _units(groups) or len(values))
    return Figure(mean=mean, low=low, high=high, rows=len(values))


def difference(
    left: Mapping[str, float], right: Mapping[str, float], *, groups: Mapping[str, str | None] | None = None, seed: int = 0
) -> Difference | None:
    """Return the paired difference of two subjects' scores by row id; None where they share no row.

    `groups` names the rows' groups by row id.
    """
    shared = [row for row in left if row in right]
    deltas = [right[row] - left[row] for row in shared]
    if not deltas:
        return None
    named = [(groups or {}).get(row) for row in shared]
    mean, low, high = _interval(deltas, named, seed)
    better, worse = sum(delta > 0 for delta in deltas), sum(delta < 0 for delta in deltas)
    return Difference(mean=mean, low=low, high=high, rows=len(deltas), better=better, worse=worse, units=_units(named))


def _interval(values: Sequence[float], groups: Sequence[str | None], seed: int) -> tuple[float, float, float]:
    if not values:
        raise ValueError("no scores, so no mean")
    mean, low, high = _of_rows(values, seed)
    units = _units(groups)
    if units == len(groups):
        return mean, low, high
    _, lowest, highest = _of_groups(values, groups, seed)
    if units < MIN_UNITS or lowest == highest:  # so few groups, or equal ones, say less than their rows do
        return mean, min(low, lowest), max(high, highest)
    return mean, lowest, highest


def _wilson(share: float, trials: int) -> tuple[float, float]:
    """Return the Wilson score interval of a share of successes: https://doi.org/10.1080/01621459.1927.10502953."""
    square = Z * Z / trials
    middle = (share + square / 2) / (1 + square)
    half = sqrt(share * (1 - share) * square + square * square / 4) / (1 + square)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def _units(groups: Sequence[str | None]) -> int:
    return len(set(groups) - {None}) + groups.count(None)


def _of_groups(values: Sequence[float], groups: Sequence[str | None], seed: int) -> tuple[float, float, float]:
    totals: dict[object, tuple[float, int]] = {}
    for number, (value, group) in enumerate(zip(values, groups, strict=True)):
        total, rows = totals.get(group or number, (0.0, 0))
        totals[group or number] = (total + value, rows + 1)
    mean = fsum(values) / len(values)
    (usual, size), _ = Counter(totals.values()).most_common(1)[0]
    others = [pair for pair in totals.values() if pair != (usual, size)]
    if not others:
        return mean, mean, mean
    first, cumulative = _binomial(len(totals), len(others) / len(totals))
    random = Random(seed)  # noqa: S311 - a resample, not a secret
    means = []
    for _ in range(RESAMPLES):
        count = first + _at(cumulative, random.random())
        drawn = random.choices(others, k=count)
        same = len(totals) - count
        means.append((same * usual + sum(total for total, _ in drawn)) / (same * size + sum(rows for _, rows in drawn)))
    means.sort()
    low, high = means[int(RESAMPLES * TAIL)], means[RESAMPLES - 1 - int(RESAMPLES * TAIL)]
    return mean, min(low, mean), max(high, mean)


def _of_rows(values: Sequence[float], seed: int) -> tuple[float, float, float]:
    usual, _ = Counter(values).most_common(1)[0]
    others = sorted(value - usual for value in values if value != usual)
    mean = fsum(values) / len(values)
    if not others:
        return mean, mean, mean
    first, cumulative = _binomial(len(values), len(others) / len(values))
    if others[0] == others[-1]:  # two distinct scores: the bootstrap distribution is binomial, so its quantiles are exact
        ends = [others[0] * (first + _at(cumulative, tail)) for tail in (TAIL, 1 - TAIL)]
    else:
        random = Random(seed)  # noqa: S311 - a resample, not a secret
        counts = [first + _at(cumulative, random.random()) for _ in range(RESAMPLES)]
        sums = sorted(fsum(random.choices(others, k=count)) for count in counts)
        ends = [sums[int(RESAMPLES * TAIL)], sums[RESAMPLES - 1 - int(RESAMPLES * TAIL)]]
    low, high = sorted(usual + end / len(values) for end in ends)
    return mean, min(low, mean), max(high, mean)


def _at(cumulative: Sequence[float], chance: float) -> int:
    return min(bisect_left(cumulative, chance), len(cumulative) - 1)


def _binomial(rows: int, chance: float) -> tuple[int, list[float]]:
    """Return the first count of note and the cumulative probabilities from there on (10 standard deviations each side)."""
    spread = 10 * sqrt(rows * chance * (1 - chance)) + 2
    first, last = max(0, int(rows * chance - spread)), min(rows, int(rows * chance + spread))
    hit, miss, whole = log(chance), log(1 - chance), lgamma(rows + 1)
    logs = [whole - lgamma(k + 1) - lgamma(rows - k + 1) + k * hit + (rows - k) * miss for k in range(first, last + 1)]
    return first, list(accumulate(2.718281828459045**value for value in logs))
