"""Slices of a split: they mean what they say, or say that they cannot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_hf.tables.slices import Slice

import pillm


def taken(text: str, total: int = 100) -> list[int]:
    """Return the rows of a slice out of rows that are numbered."""
    return list(Slice.parse(text).of(lambda: range(total), lambda: total))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("train", 0, 99), ("train[:]", 0, 99), ("train[:20]", 0, 19), ("train[20:]", 20, 99), ("train[10:30]", 10, 29),
        ("train[10%:20%]", 10, 19), ("train[:1%]", 0, 0), ("train[-10:]", 90, 99), ("train[-20:-10]", 80, 89),
        ("train[:-10]", 0, 89), ("train[-10%:]", 90, 99), ("train[50%:60]", 50, 59), ("train[0:1]", 0, 0),
    ],
)  # fmt: skip
def test_a_slice_holds_the_rows_that_it_says(text: str, first: int, last: int) -> None:
    rows = taken(text)
    assert (rows[0], rows[-1], len(rows)) == (first, last, last - first + 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train[:0]", "holds no row: it goes from 0 to before 0"),
        ("train[30:20]", "holds no row"),
        ("train[:1000]", "goes to row 1000, and there are only 100"),
        ("train[90:110]", "goes to row 110, and there are only 100"),
        ("train[100:]", "begins after the last row"),
        ("train[-101:]", "begins 101 rows before the end, and there are only 100"),
        ("train[:101%]", "0..100"),
        ("train[5]", "is no split"),
        ("train[::2]", "is no split"),
        ("train[:1.5]", "is no split"),
        ("train[:10]+test", "is no split"),
        ("", "is no split"),
    ],
)
def test_a_slice_that_holds_nothing_or_says_too_much_is_refused(text: str, said: str) -> None:
    with pytest.raises(pillm.DataError) as caught:
        taken(text)
    assert said in str(caught.value)


@given(st.integers(1, 500), st.integers(1, 99))
def test_two_shares_hold_every_row_once(total: int, share: int) -> None:
    both = []
    for text in (f"s[:{share}%]", f"s[{share}%:]"):
        try:
            both += taken(text, total)
        except pillm.DataError as error:
            assert "holds no row" in str(error), error  # noqa: PT017 - a share of few rows may be none
    assert both == list(range(total))


@given(st.integers(1, 60), st.integers(-70, 70), st.integers(-70, 70))
def test_numbers_mean_what_they_mean_in_python_or_are_refused(total: int, first: int, end: int) -> None:
    wanted = list(range(total))[first:end]
    inside = all(-total <= bound <= total for bound in (first, end))
    try:
        assert taken(f"s[{first}:{end}]", total) == wanted
        assert inside or end > total
    except pillm.DataError:
        assert not wanted or not inside


def test_the_first_rows_are_read_without_counting_and_no_further() -> None:
    read = 0

    def rows() -> Iterator[int]:
        nonlocal read
        for number in range(1_000_000):
            read += 1
            yield number

    def count() -> int:
        raise AssertionError("nobody asked")

    assert len(list(Slice.parse("train[5:20]").of(rows, count))) == 15
    assert read == 20


@given(st.text(max_size=20))
def test_no_text_is_more_than_a_sentence(text: str) -> None:
    try:
        assert Slice.parse(text).split
    except pillm.DataError as error:
        assert "split" in str(error)  # noqa: PT017 - either it is one, or it says so
