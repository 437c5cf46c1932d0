"""The front of what no other file beats, and the pick."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_llamacpp.choosing.front import Trial, changed, costs, dominates, front, pick
from pillm_llamacpp.choosing.limits import Limits

import pillm

EVEN = {"quality": 1.0, "speed": 1.0, "size": 1.0}


def trial(name: str, size: int, kld: float, tps: float | None, score: float | None = None) -> Trial:
    return Trial(name=name, quant=name, bytes=size, ram=2 * size, kld=kld, tg_tps=tps, score=score, exact=score)


FILES = [
    trial("F16", 4_000_000, 0.0, 100.0, 0.870),
    trial("Q8_0", 2_100_000, 0.0004, 180.0, 0.869),
    trial("Q6_K", 1_700_000, 0.002, 210.0, 0.868),
    trial("Q4_K_M", 1_300_000, 0.02, 260.0, 0.864),
    trial("Q4_0", 1_310_000, 0.05, 255.0, 0.850),
    trial("Q3_K_M", 1_000_000, 0.3, 300.0, 0.700),
]
TRIALS = st.builds(
    trial, st.sampled_from("abcdefgh"), st.integers(1, 5), st.floats(0, 1).map(lambda kld: round(kld, 1)),
    st.none() | st.integers(1, 4).map(float), st.none() | st.sampled_from([0.5, 0.9]),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(TRIALS, min_size=1, max_size=12))
def test_the_front_has_no_dominated_file_and_every_other_is_dominated_or_equal(trials: list[Trial]) -> None:
    shown = front(trials)
    assert shown
    assert not [(a, b) for a in trials for b in shown if dominates(a, b)]
    figures = {(one.bytes, one.kld, one.tg_tps, one.score) for one in shown}
    assert len(figures) == len(shown)
    for one in trials:
        assert (one.bytes, one.kld, one.tg_tps, one.score) in figures or any(dominates(other, one) for other in trials)


def test_a_file_that_is_larger_slower_and_worse_is_not_on_the_front() -> None:
    assert [one.name for one in front(FILES)] == ["Q3_K_M", "Q4_K_M", "Q6_K", "Q8_0", "F16"]


def test_the_pick_changes_with_the_weights() -> None:
    chosen = {
        name: pick(FILES, Limits(), weights, "pi4-4gb")[0].name
        for name, weights in {
            "quality": {"quality": 5.0, "speed": 0.1, "size": 0.1},
            "even": {"quality": 5.0, "speed": 1.0, "size": 1.0},
            "speed": {"quality": 0.1, "speed": 1.0, "size": 1.0},
        }.items()
    }
    assert chosen == {"quality": "Q8_0", "even": "Q6_K", "speed": "Q3_K_M"}


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(), "Q3_K_M"),
        (Limits(min_exact=0.98), "Q4_K_M"),
        (Limits(min_exact=0.995), "Q6_K"),
        (Limits(min_exact=0.995, min_tps=250), None),
        (Limits(max_bytes=1_250_000), "Q3_K_M"),
        (Limits(min_exact=1.0), "F16"),
    ],
)
def test_the_pick_keeps_to_the_limits(limits: Limits, name: str | None) -> None:
    fast = {"quality": 0.1, "speed": 1.0, "size": 1.0}
    if name is None:
        with pytest.raises(pillm.GateError, match=r"none of 6 files.*Q4_K_M comes nearest.*needed 0.866"):
            pick(FILES, limits, fast, "pi4-4gb")
    else:
        assert pick(FILES, limits, fast, "pi4-4gb")[0].name == name


def test_the_full_file_ships_only_where_nothing_else_may() -> None:
    best = {"quality": 1.0, "speed": 0.0, "size": 0.0}
    assert pick(FILES, Limits(), best, "pi4-4gb")[0].name == "Q8_0"


def test_the_reason_is_one_sentence_with_every_figure() -> None:
    _, reason = pick(FILES, Limits(min_exact=0.98, max_bytes=2_000_000), {"quality": 2, "speed": 1, "size": 0}, "pi4-4gb")
    assert reason.count(". ") == 0
    assert reason.endswith(".")
    for said in ("best trade of quality and speed", "MB", "tokens per second on pi4-4gb", "nats", "(F16 0.870)",
                 "at least 0.98 of F16", "at most 2 MB"):  # fmt: skip
        assert said in reason, said


def test_what_min_exact_asks_for_is_exact_answers_whatever_else_the_score_is_of() -> None:
    by_fields = [replace(one, score=0.99) for one in FILES]
    assert pick(by_fields, Limits(min_exact=0.98), {"quality": 0.1, "speed": 1.0, "size": 1.0}, "pi4-4gb")[0].name == "Q4_K_M"


def test_costs_do_not_depend_on_units() -> None:
    weights = {"quality": 1.0, "speed": 2.0, "size": 3.0}
    scaled = [replace(one, bytes=one.bytes * 1000, tg_tps=(one.tg_tps or 0) / 7) for one in FILES]
    assert costs(FILES, FILES[0], weights) == pytest.approx(costs(scaled, scaled[0], weights))


def test_what_nobody_notices_costs_next_to_nothing() -> None:
    """All may be nearly lossless: then the smallest is the best trade, however they compare among each other."""
    close = [FILES[0], replace(FILES[1], kld=1e-6), replace(FILES[3], kld=1e-5)]
    assert pick(close, Limits(), {"quality": 5.0, "speed": 1.0, "size": 1.0}, "pi4-4gb")[0].name == "Q4_K_M"


def test_a_device_without_known_speeds_still_gets_a_pick() -> None:
    unknown = [replace(one, tg_tps=None) for one in FILES]
    assert pick(unknown, Limits(), EVEN, "elsewhere")[0].name in {"Q4_K_M", "Q6_K", "Q3_K_M", "Q8_0"}


def test_moved_probability_grows_with_divergence_and_is_never_negative() -> None:
    assert changed(-1e-9) == 0
    assert changed(0.02) == pytest.approx(0.1)
