from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_llamacpp.grammars.sequences import constant, letters, union
from pillm_llamacpp_walks import regex

WORDS = st.sets(st.text('ab"\\\n]é😀 ', min_size=1, max_size=4), min_size=1, max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


@given(words=WORDS, others=WORDS)
def test_a_choice_of_words_lets_those_through_and_no_others(words: set[str], others: set[str]) -> None:
    expression = regex(union(map(letters, sorted(words))))
    assert all(expression.fullmatch(word) for word in words)
    assert not any(expression.fullmatch(word) for word in others - words)


def test_what_words_share_is_written_once() -> None:
    assert union(map(letters, ("turn_on", "turn_off", "turn"))) == '"turn" ( "_o" ( "n" | "ff" ) )?'


@settings(max_examples=40, deadline=None)
@given(value=VALUES)
def test_a_known_value_is_let_through_with_blanks_and_without(value: object) -> None:
    expression = regex(union([constant(value)]))
    assert expression.fullmatch(json.dumps(value, ensure_ascii=False))
    assert expression.fullmatch(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
