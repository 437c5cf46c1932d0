"""Budgets and the score that a file must keep."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_llamacpp.choosing.front import Trial
from pillm_llamacpp.choosing.limits import Limits, parse_score, parse_size

TRIAL = Trial(name="Q4_0", quant="Q4_0", bytes=1000, ram=2000, kld=0.1, score=0.8, exact=0.8, tg_tps=5.0)


@pytest.mark.parametrize(
    ("said", "meant"), [("0.98 of F16", (0.98, True)), ("0.9", (0.9, False)), (0.9, (0.9, False)), (" 1 OF f16 ", (1.0, True))]
)
def test_a_score_is_a_number_or_a_share_of_the_full_file(said: Any, meant: tuple[float, bool]) -> None:
    assert parse_score(said) == meant


@pytest.mark.parametrize("said", ["", "98 %", "1.2", "0", "0.9 of teacher", True, "of F16", "-0.5", None])
def test_a_score_of_another_form_is_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="is not understood"):
        parse_score(said)


@pytest.mark.parametrize(("said", "meant"), [(1500, 1500), ("1.5 GB", 1_500_000_000), ("300 MiB", 300 << 20), ("8kB", 8000)])
def test_a_size_is_bytes_or_has_a_unit(said: Any, meant: int) -> None:
    assert parse_size(said) == meant


@pytest.mark.parametrize("said", ["", "GB", "1.5 XB", True, None, -3, "0", "1e9"])
def test_a_size_of_another_form_is_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(said)


@given(st.text())
def test_no_text_breaks_the_readers(text: str) -> None:
    for read in (parse_score, parse_size):
        with suppress(ValueError):
            assert read(text)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(max_bytes=999), "it has 1,000 bytes, allowed 999"),
        (Limits(max_ram=1999), "memory, allowed 1,999"),
        (Limits(min_tps=5.1), "decodes 5 tokens per second, needed 5.1"),
        (Limits(min_exact=0.9), "score is 0.800, needed 0.882"),
        (Limits(min_exact=0.9, relative=False), "score is 0.800, needed 0.900"),
    ],
)
def test_what_is_missed_is_said_with_both_figures(limits: Limits, said: str) -> None:
    (missed,) = limits.misses(TRIAL, 0.98)
    assert said in missed


def test_the_shortfall_grows_with_what_is_missing_and_is_nothing_where_nothing_is() -> None:
    far, near = (Limits(max_bytes=size).shortfall(TRIAL) for size in (500, 990))
    assert far > near > 0
    assert Limits(max_bytes=1000).shortfall(TRIAL) == 0


def test_a_file_at_the_limit_keeps_to_it() -> None:
    assert Limits(max_bytes=1000, max_ram=2000, min_tps=5.0, min_exact=0.8, relative=False).misses(TRIAL, 0.9) == []


def test_what_nobody_knows_does_not_keep_to_a_limit() -> None:
    unknown = Trial(name="Q4_0", quant="Q4_0", bytes=1, ram=1, kld=0.1)
    assert "an unknown number" in Limits(min_tps=1).misses(unknown, 0.9)[0]
    assert "not measured" in Limits(min_exact=0.5).misses(unknown, 0.9)[0]
    assert Limits().misses(unknown, None) == []
