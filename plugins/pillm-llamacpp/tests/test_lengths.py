from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_llamacpp.grammars.lengths import TooMany, held, read
from pillm_llamacpp.grammars.patterns import pattern_expression
from pillm_llamacpp.grammars.quoted import FORMATS
from pillm_llamacpp.grammars.sequences import Sequence, rule
from pillm_llamacpp_walks import regex

PATTERNS = [
    "^a+$",
    r"^[a-f]{2,3}-\d$",
    "^(ab|c)?$",
    "^(ab?|c-)*z{1,2}$",
    "^a*b*$",
    "^(a|bb|ccc){0,3}$",
    "^abc$",
    "^(a*b){2}$",
    "^$",
]
TEXTS = st.text("abcz-0", max_size=9) | st.sampled_from(["ab-0", "abab", "ac-zz", "aab", "bbccc", "abc"])


def inline(body: str) -> Sequence:
    return rule(f"( {body} )")


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(pattern=st.sampled_from(PATTERNS), low=st.integers(0, 6), room=st.integers(0, 5), data=st.data())
def test_exactly_the_texts_of_a_length_are_left_of_a_pattern(pattern: str, low: int, room: int, data: st.DataObject) -> None:
    expression = held(pattern_expression(pattern), low, low + room, inline)
    for text in data.draw(st.lists(TEXTS, min_size=3, max_size=3)):
        wanted = bool(re.search(pattern, text)) and low <= len(text) <= low + room
        assert bool(expression and regex(expression).fullmatch(text)) == wanted, text
    if expression is not None:
        text = data.draw(st.from_regex(regex(expression), fullmatch=True))
        assert re.search(pattern, text)
        assert low <= len(text) <= low + room


def test_one_part_that_varies_is_repeated_as_often_as_the_length_allows_without_a_rule() -> None:
    def never(body: str) -> Sequence:
        raise AssertionError(body)

    assert held(pattern_expression("^[a-z]+$"), 0, 64, never) == "( [a-z] ){1,64}"
    assert held(pattern_expression(r"^x\d*$"), 5, None, never) == '"x" ( [0-9] ){4,}'
    assert held(pattern_expression("^ab?$"), 1, 2, never) == pattern_expression("^ab?$")
    assert held(FORMATS["date"], 0, 10, never) == FORMATS["date"]
    assert held(FORMATS["date"], 0, 9, never) is None


def test_what_takes_too_many_rules_is_told() -> None:
    for pattern, low, high in (("^(a|bc)*(d|ef)*$", 0, 500), ("^[a-z]{500}b*[a-z]*$", 0, 900), ("^a*b*$", 3, None)):
        with pytest.raises(TooMany):
            held(pattern_expression(pattern), low, high, inline)


def test_the_span_of_an_expression_is_how_long_its_texts_are() -> None:
    assert read('"ab" ( [0-9] | "xyz" )? hex{2,3}').span() == (4, 8)
    assert read('( "a"{0} )*').span() == (0, 0)
    assert read('"a" ( "b" | "c"+ )').span() == (2, None)
