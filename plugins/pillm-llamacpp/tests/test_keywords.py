"""Keywords of JSON Schema, read strictly."""

from __future__ import annotations

from typing import Any

import pytest
from pillm_llamacpp.grammars.keywords import Unsupported, above, below, bound, bounds, check_text, only


def test_bounds_that_exclude_leave_the_next_integer() -> None:
    assert (above({"exclusiveMinimum": 3}, "#"), below({"exclusiveMaximum": 3}, "#")) == (4, 2)
    assert (above({"exclusiveMinimum": 2.5}, "#"), below({"exclusiveMaximum": 2.5}, "#")) == (3, 2)


def test_a_number_that_is_not_said_is_the_other_one() -> None:
    assert bound({"minimum": 0.5}, "minimum", 7, "#") == 0.5
    assert bound({}, "minimum", 7, "#") == 7


@pytest.mark.parametrize("value", [True, "3", None, float("nan"), float("inf"), 10**40])
def test_what_is_no_number_of_a_usual_size_is_refused_by_name(value: Any) -> None:
    with pytest.raises(Unsupported, match=r"minimum .* at #/a"):
        bound({"minimum": value}, "minimum", 0, "#/a")


def test_repeats_are_few_whole_numbers_in_order() -> None:
    assert bounds({"minItems": 2}, "minItems", "maxItems", "#") == (2, None)
    for kept in ({"minItems": -1}, {"maxItems": 513}, {"maxItems": 1.5}, {"minItems": 3, "maxItems": 2}):
        with pytest.raises(Unsupported, match="maxItems"):
            bounds(kept, "minItems", "maxItems", "#")


def test_the_first_keyword_that_is_not_known_is_named() -> None:
    only({"a": 1}, {"a", "b"}, "#", "here")
    with pytest.raises(Unsupported, match="the keyword 'c' here at #/x"):
        only({"a": 1, "c": 2}, {"a"}, "#/x", "here")


def test_half_a_character_is_no_name() -> None:
    check_text("née", "#")
    with pytest.raises(Unsupported, match="not Unicode"):
        check_text("\ud800", "#")
