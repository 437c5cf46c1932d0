"""Figures as people read them."""

from __future__ import annotations

import pytest

from pillm.report import words


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (12, "12 B"), (1_298, "1.30 kB"), (1_298_432, "1.30 MB"), (10_212_000, "10.2 MB"), (4.92e9, "4.92 GB")],
)
def test_sizes_are_decimal(value: int | None, said: str) -> None:
    assert words.size(value) == said


@pytest.mark.parametrize(
    ("value", "said"), [(1.0, "100 %"), (0.99996, "99.9 %"), (0.9674, "96.7 %"), (1.004, "100.4 %"), (0, "0 %")]
)
def test_nothing_but_all_is_a_hundred_percent(value: float, said: str) -> None:
    assert words.percent(value) == said


@pytest.mark.parametrize(("value", "said"), [(-0.0254, "−0.025"), (0.002, "+0.002"), (-0.0001, "±0.000"), (0.0, "±0.000")])
def test_differences_carry_their_sign(value: float, said: str) -> None:
    assert words.signed(value) == said


@pytest.mark.parametrize(("value", "said"), [(None, "–"), (8340.4, "8\u202f340"), (48.24, "48.2"), (4.614, "4.61")])
def test_speeds_have_three_digits(value: float | None, said: str) -> None:
    assert words.speed(value) == said


@pytest.mark.parametrize(("value", "said"), [(5.21, "5.2 s"), (141.7, "2 min 22 s"), (59.99, "60.0 s"), (7322, "2 h 02 min")])
def test_times_are_said_as_clocks_say_them(value: float, said: str) -> None:
    assert words.duration(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(2.0, "2"), (0.05214, "0.0521"), (1234.5, "1\u202f234"), (-0.25, "\u22120.25"), (3.2e-5, "3.2e\u221205")],
)
def test_losses_have_three_digits(value: float, said: str) -> None:
    assert words.loss(value) == said


def test_names_are_made_readable() -> None:
    assert [words.set_title(name) for name in ("test", "handwritten", "my_rows")] == ["Held-out", "Hand-written", "My rows"]
    assert words.subject_title({"kind": "model", "quant": "Q8_0", "subject": "x.gguf"}) == "Q8_0"
    assert words.subject_title({"kind": "model", "quant": None, "subject": "x.gguf"}) == "x.gguf"
    assert words.subject_title({"kind": "base", "subject": "x"}) == "Untrained base"


def test_scores_intervals_and_ticks() -> None:
    assert (words.score(None), words.score(0.93449)) == ("–", "0.934")
    assert words.interval({"low": 0.1, "high": 1}) == "[0.100, 1.000]"
    assert [words.size_tick(value) for value in (500, 2e3, 5e6, 1e9)] == ["500 B", "2 kB", "5 MB", "1 GB"]
    assert words.count(9962) == "9\u202f962"


def test_a_difference_is_certain_where_its_interval_leaves_out_zero() -> None:
    assert words.certain({"low": 0.01, "high": 0.2})
    assert words.certain({"low": -0.2, "high": -0.01})
    assert not words.certain({"low": -0.2, "high": 0.0})
