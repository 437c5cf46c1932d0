"""Bootstrap intervals: held against the plain bootstrap that they shorten."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pillm
from pillm.stages.intervals import Difference, difference, figure


def plain_bootstrap(values: list[float], resamples: int = 4000) -> tuple[float, float]:
    random = Random(1)
    means = sorted(sum(random.choices(values, k=len(values))) / len(values) for _ in range(resamples))
    return means[int(resamples * 0.025)], means[-1 - int(resamples * 0.025)]


@pytest.mark.parametrize(
    "values",
    [
        [1.0] * 180 + [0.0] * 20,
        [0.0] * 45 + [1.0] * 5,
        [1.0] * 150 + [0.5] * 30 + [0.0] * 20,
        [number / 100 for number in range(100)],
        [-1.0] * 10 + [0.0] * 150 + [1.0] * 40,
    ],
)
def test_the_interval_is_the_one_of_the_plain_bootstrap(values: list[float]) -> None:
    low, high = plain_bootstrap(values)
    found = figure(values)
    spread = high - low
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert found.low == pytest.approx(low, abs=0.12 * spread)
    assert found.high == pytest.approx(high, abs=0.12 * spread)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60), st.integers(0, 5))
def test_the_mean_lies_in_its_interval_and_the_interval_in_the_range_of_the_scores(values: list[float], seed: int) -> None:
    found = figure(values, seed=seed)
    slack = 1e-9
    assert 0 <= found.low <= found.mean <= found.high <= 1
    if set(values) not in ({0.0}, {1.0}):
        assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    assert found == figure(values, seed=seed)
    assert found.rows == len(values)


def test_equal_scores_have_no_spread() -> None:
    assert (figure([0.5] * 7).low, figure([0.5] * 7).high) == (0.5, 0.5)


def test_all_right_or_all_wrong_is_not_certain() -> None:
    right, wrong = figure([1.0] * 10), figure([0.0] * 10)
    assert (right.mean, right.low, right.high) == (1.0, pytest.approx(0.7225, abs=1e-4), 1.0)  # Wilson, 10 of 10
    assert (wrong.mean, wrong.low, wrong.high) == (0.0, 0.0, pytest.approx(0.2775, abs=1e-4))
    assert figure([1.0] * 1000).low > 0.99
    assert figure([1.0]).low == pytest.approx(0.2065, abs=1e-4)


def test_all_right_counts_groups_where_rows_belong_together() -> None:
    together = figure([1.0] * 100, groups=[f"g{number % 10}" for number in range(100)])
    assert (together.low, together.rows) == (figure([1.0] * 10).low, 100)
    assert figure([1.0] * 3, groups=["a", "a", None]).low == figure([1.0] * 2).low


def test_no_scores_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no scores"):
        figure([])


def test_ten_thousand_rows_take_well_under_a_second() -> None:
    values = [float(number % 7 > 0) for number in range(9_000)] + [0.5] * 1_000
    started = time.process_time()
    figure(values)
    assert time.process_time() - started < 3


def test_differences_are_paired_by_row() -> None:
    left = {str(number): float(number % 2) for number in range(100)}
    same = difference(left, left)
    assert same is not None
    assert (same.mean, same.low, same.high, same.better, same.worse, same.certain) == (0.0, 0.0, 0.0, 0, 0, False)
    right = {**left, **{str(number): 1.0 for number in range(0, 40, 2)}, "other": 0.0}
    found = difference(left, right)
    assert found is not None
    assert (found.mean, found.rows, found.better, found.worse, found.certain) == (pytest.approx(0.2), 100, 20, 0, True)
    assert found.low < 0.2 < found.high


def test_a_pair_is_tighter_than_two_intervals() -> None:
    left = {str(number): float(number % 2) for number in range(200)}
    right = {**left, "0": 1.0, "1": 0.0}
    found = difference(left, right)
    assert found is not None
    alone = figure(list(left.values()))
    assert found.high - found.low < (alone.high - alone.low) / 2


def test_subjects_without_a_common_row_cannot_be_compared() -> None:
    assert difference({"a": 1.0}, {"b": 1.0}) is None


def test_rows_that_fail_together_give_a_wider_interval_than_rows_that_stand_alone() -> None:
    values = [1.0, 0.0] * 50
    values.sort()
    alone = figure(values)
    together = figure(values, groups=[f"g{number // 10}" for number in range(100)])
    assert together.mean == alone.mean == 0.5
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_groups_of_one_row_are_rows() -> None:
    values = [1.0] * 30 + [0.0] * 10
    assert figure(values, groups=[str(number) for number in range(40)]) == figure(values)
    assert figure(values, groups=[None] * 40) == figure(values)


def test_few_groups_decide_nothing() -> None:
    left = {str(number): 0.0 for number in range(100)}
    right = {str(number): 1.0 for number in range(100)}
    for groups, sure in ((1, False), (4, False), (5, False), (6, True), (100, True)):
        found = difference(left, right, groups={row: f"g{int(row) % groups}" for row in left})
        assert found is not None
        assert (found.low, found.high, found.units, found.certain) == (1.0, 1.0, groups, sure), groups
    alone = difference({"a": 0.0}, {"a": 1.0})
    assert alone is not None
    assert not alone.certain


def test_groups_that_agree_by_chance_do_not_hide_what_their_rows_spread() -> None:
    values = [1.0, 0.0] * 50
    for groups in (1, 3, 10):  # every group's mean is 0.5, so resampling groups shows no spread at all
        found = figure(values, groups=[f"g{number // 2 % groups}" for number in range(100)])
        assert found.low < 0.45
        assert found.high > 0.55


def test_a_difference_resamples_whole_groups_too() -> None:
    left = {str(number): 0.0 for number in range(100)}
    right = {str(number): float(number < 50) for number in range(100)}
    groups = {str(number): f"g{number // 10}" for number in range(100)}
    alone, together = difference(left, right), difference(left, right, groups=groups)
    assert alone is not None
    assert together is not None
    assert together.low < alone.low


def test_the_paired_difference_is_public() -> None:
    assert pillm.difference is difference
    assert pillm.Difference is Difference
