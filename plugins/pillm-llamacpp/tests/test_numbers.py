from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from pillm_llamacpp.grammars.numbers import ANY_INTEGER, ANY_NUMBER, integers, numbers
from pillm_llamacpp_walks import regex

BOUND = st.one_of(st.integers(-120, 120), st.integers(-(10**15) + 1, 10**15 - 1))
NEAR = st.integers(-3, 3)
EDGE = st.decimals(-(10**9), 10**9, places=3) | st.decimals(-9, 9, places=2) | st.integers(-(10**9), 10**9).map(Decimal)


@given(one=BOUND, other=BOUND, near=NEAR, far=st.integers(-(10**15) + 1, 10**15 - 1))
def test_integers_within_bounds_are_exactly_those(one: int, other: int, near: int, far: int) -> None:
    low, high = sorted((one, other))
    expression = regex(integers(low, high))
    for value in (low, high, low + near, high + near, (low + high) // 2, far, 0):
        assert bool(expression.fullmatch(str(value))) == (low <= value <= high), value
    assert not expression.fullmatch(f"0{high}")


@given(one=EDGE, other=EDGE, above=st.booleans(), below=st.booleans(), part=st.decimals(-1, 1, places=3))
def test_numbers_within_bounds_are_let_through_and_no_others(
    one: Decimal, other: Decimal, above: bool, below: bool, part: Decimal
) -> None:
    low, high = sorted((one, other))
    expression = numbers(low, high, above=above, below=below)
    for value in {low + part, high + part, Decimal(low), Decimal(high), Decimal(0), (low + high) / Decimal(2)}:
        within = (low < value if above else low <= value) and (value < high if below else value <= high)
        written, short = f"{value:f}", f"{value.normalize():f}"
        if expression is None:
            assert low == high or not within
        else:
            assert not regex(expression).fullmatch(written) or within, written
            assert regex(expression).fullmatch(short) or not within or short.startswith("-0"), short


@given(value=st.floats(allow_nan=False, allow_infinity=False, min_value=-1e14, max_value=1e14), whole=BOUND)
def test_numbers_without_bounds_are_json(value: float, whole: int) -> None:
    assert regex(ANY_INTEGER).fullmatch(str(whole))
    assert regex(ANY_NUMBER).fullmatch(f"{value:.6f}")
    assert not regex(ANY_NUMBER).fullmatch("1.")
