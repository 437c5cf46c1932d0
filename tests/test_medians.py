"""Medians, their intervals and how far samples are spread."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.performance.medians import median, percentile, ratio, spread

SAMPLES = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=12)


@settings(max_examples=20, deadline=None)
@given(SAMPLES)
def test_the_interval_holds_the_median_and_lies_within_the_samples(samples: list[float]) -> None:
    found = median(samples)
    assert found.value == statistics.median(samples)
    assert min(samples) <= found.low <= found.value <= found.high <= max(samples)


def test_one_sample_is_its_own_interval() -> None:
    assert (median([8.0]).low, median([8.0]).high) == (8.0, 8.0)


def test_many_samples_have_the_interval_that_the_bootstrap_gives() -> None:
    few, many = median([float(n) for n in range(200)]), median([float(n) for n in range(201)])
    assert many.low == pytest.approx(few.low, abs=4)
    assert many.high == pytest.approx(few.high, abs=4)


@settings(max_examples=20, deadline=None)
@given(SAMPLES, SAMPLES)
def test_a_ratio_is_of_the_medians(samples: list[float], base: list[float]) -> None:
    found = ratio(samples, base)
    assert found.value == pytest.approx(statistics.median(samples) / statistics.median(base))
    assert found.low <= found.value * (1 + 1e-9)
    assert found.high >= found.value * (1 - 1e-9)


def test_without_samples_there_is_nothing() -> None:
    for call in (lambda: median([]), lambda: ratio([], [1.0]), lambda: ratio([1.0], []), lambda: percentile([], 0.5)):
        with pytest.raises(ValueError, match="no samples"):
            call()


def test_percentiles_are_samples() -> None:
    assert [percentile([4.0, 1.0, 3.0, 2.0], share) for share in (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)] == [1, 1, 2, 3, 4, 4]


def test_spread_is_the_deviation_as_a_share() -> None:
    assert spread([100.0, 102.0]) == pytest.approx(statistics.stdev([100, 102]) / 101)
    assert spread([5.0]) is None
