from __future__ import annotations

import json
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st
from pillm_llamacpp.grammars.arrays import array, few_enough, without_repeats
from pillm_llamacpp.grammars.sequences import Sequence, letters, rule, union
from pillm_llamacpp_walks import regex


def inline(body: str) -> Sequence:
    """Return an expression in the place of the rule that would be made of it."""
    return rule(f"( {body} )")


@given(firsts=st.integers(0, 3), more=st.booleans(), low=st.integers(0, 4), room=st.integers(0, 3) | st.none())
def test_a_tuple_has_its_own_items_first_and_as_many_as_were_asked_for(
    firsts: int, more: bool, low: int, room: int | None
) -> None:
    low = low if more else min(low, firsts)
    high = None if room is None else low + room
    told = [letters(str(place)) for place in range(firsts)]
    expression = regex(union([array(told, letters("9") if more else None, low, high, inline)]))
    for count in range(8):
        text = json.dumps([place if place < firsts else 9 for place in range(count)])
        allowed = low <= count and (high is None or count <= high) and (more or count <= firsts)
        assert bool(expression.fullmatch(text)) == allowed, text
    assert not expression.fullmatch("[9, 9, 9, 9, 0]")


@given(count=st.integers(0, 4), low=st.integers(0, 4), high=st.integers(0, 5) | st.none())
def test_values_without_repeats_come_in_any_order(count: int, low: int, high: int | None) -> None:
    low = min(low, count if high is None else min(count, high))
    expression = regex(union([without_repeats([letters(str(one)) for one in range(count)], low, high, inline)]))
    for taken in range(count + 1):
        for order in permutations(range(count), taken):
            allowed = low <= taken and (high is None or taken <= high)
            assert bool(expression.fullmatch(json.dumps(order))) == allowed, order
    assert not expression.fullmatch("[0, 0]")


def test_many_values_are_few_enough_only_where_few_are_taken() -> None:
    assert few_enough(6, None)
    assert not few_enough(7, None)
    assert few_enough(10, 2)
