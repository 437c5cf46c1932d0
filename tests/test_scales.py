"""Scales and labels of the plots."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.report.scales import Scale, log_ticks, place_labels, round_ticks, score_domain


def test_a_scale_maps_ends_to_ends_and_middles_to_middles() -> None:
    assert [Scale(0, 10, 100, 200)(value) for value in (0, 5, 10)] == [100, 150, 200]
    assert [Scale(1, 100, 0, 10, log=True)(value) for value in (1, 10, 100)] == pytest.approx([0, 5, 10])
    assert Scale(3, 3, 0, 10)(3) == 5


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_a_score_domain_holds_every_score_within_zero_and_one(values: list[float]) -> None:
    low, high, ticks = score_domain(values)
    assert 0 <= low <= min(values, default=0)
    assert max(values, default=1) <= high <= 1 + 1e-9
    assert high - low >= 0.05 - 1e-9
    assert (ticks[0], ticks[-1]) == (low, high)
    assert 2 <= len(ticks) <= 10


@settings(deadline=None)
@given(st.floats(1, 1e12), st.floats(1.5, 1e6))
def test_log_ticks_lie_inside_and_are_few(low: float, factor: float) -> None:
    ticks = log_ticks(low, low * factor)
    assert all(low <= tick <= low * factor for tick in ticks)
    assert len(ticks) <= 8


@settings(deadline=None)
@given(st.floats(-1e15, 1e15), st.floats(1e-9, 1e9), st.integers(2, 9))
def test_round_ticks_lie_inside_and_are_few(low: float, part: float, most: int) -> None:
    span = part * max(abs(low), 1e-3)  # a tick cannot tell apart numbers that hardly differ
    high = low + span
    ticks = round_ticks(low, high, most)
    assert len(ticks) <= most
    assert all(low - 1e-6 * span <= tick <= high + 1e-6 * span for tick in ticks)


def test_round_ticks_are_round() -> None:
    assert round_ticks(0, 504) == [0, 100, 200, 300, 400, 500]
    assert round_ticks(-0.5, 2.4, 4) == [0, 1, 2]
    assert round_ticks(0, 0) == [0]


def test_labels_of_near_points_do_not_overlap() -> None:
    points = [(100.0, 100.0, 50.0), (108.0, 104.0, 50.0), (300.0, 90.0, 50.0), (304.0, 96.0, 70.0)]
    whiskers = [(x - 6, y - 20, x + 6, y + 20) for x, y, _ in points]
    placed = place_labels(points, whiskers, (0, 0, 500, 300))
    boxes = [(x - w / 2, y - 12, x + w / 2, y + 4) for (x, y), (_, _, w) in zip(placed, points, strict=True)]
    for one, other in combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_a_scale_of_very_many_powers_of_ten_shows_some_of_them() -> None:
    assert log_ticks(1e-6, 1e12) == [1e-06, 1e-03, 1, 1e3, 1e6, 1e9, 1e12]


BOXES = st.tuples(st.floats(60, 800), st.floats(60, 340))


@settings(deadline=None, max_examples=25)
@given(st.lists(BOXES, min_size=1, max_size=8), st.floats(100, 700))
def test_labels_find_places_that_are_free_even_where_many_marks_stand_in_one(
    points: list[tuple[float, float]], ruled: float
) -> None:
    crowd = [(x, y, 46.0) for x, y in points for _ in range(2)]
    whiskers = [(x - 6, y - 10, x + 6, y + 10) for x, y, _ in crowd]
    line = (ruled - 2, 0.0, ruled + 2, 400.0)
    placed = place_labels(crowd, whiskers, (0, 0, 880, 400), [line])
    boxes = [(x - 23, y - 12, x + 23, y + 4) for x, y in placed]
    for one, other in combinations([*boxes, line], 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
