from __future__ import annotations

import json
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_llamacpp.grammars.patterns import pattern_expression
from pillm_llamacpp_walks import regex

PATTERNS = (
    r"^\d{2}:[0-5]\d( am| pm)?$",
    r"^[A-Z]{2,3}-\d+$",
    "foo",
    "^a|b$",
    r"^[^x]*$",
    r"^(?:a|bc)+\.$",
    r"^\S+@\S+$",
    "^é?$",
    "^$",
)
PARTS = st.lists(
    st.sampled_from(
        [
            "a",
            "[ab]",
            "(?:a|b)",
            r"\d",
            ".",
            "a?",
            "b*",
            r"\.",
            "[^a]",
            "(a|)",
            "{2}",
            "^",
            "$",
            '"',
            r"\w",
            r"\S",
            r"[^\d]",
            r"[^\s]",
        ]
    )
)
# some signs of many scripts: with all of Unicode, hypothesis takes a second for each negated class
SIGNS = st.characters(max_codepoint=0xFF) | st.sampled_from("ſКЯ٣߂ก९ \u2028\u3000中가ﬃ\ufeff\U00010905😀\U0010ffff")


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_texts_that_are_let_through_match_their_pattern(pattern: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(regex(pattern_expression(pattern)), fullmatch=True))
    assert re.search(pattern, text)
    assert json.loads(f'"{text}"') == text


@settings(max_examples=20, deadline=None)
@given(parts=PARTS, data=st.data())
def test_any_pattern_is_refused_or_kept(parts: list[str], data: st.DataObject) -> None:
    pattern = "".join(parts)
    try:
        expression = pattern_expression(pattern)
    except ValueError:
        return
    text = data.draw(st.from_regex(regex(expression), fullmatch=True, alphabet=SIGNS))
    assert re.search(pattern, text)
    assert json.loads(f'"{text}"') == text


@pytest.mark.parametrize(
    ("pattern", "others"), [(r"^\S$", r"\s"), (r"^[^\s]$", r"\s"), (r"^[^\d]$", r"\d"), (r"^[^\w]$", r"\w")]
)
def test_a_negated_class_keeps_out_the_signs_of_every_script(pattern: str, others: str) -> None:
    allowed = regex(pattern_expression(pattern))
    of_the_class = [chr(code) for code in range(sys.maxunicode + 1) if re.match(others, chr(code))]
    assert len(of_the_class) > 20
    assert [sign for sign in of_the_class if allowed.fullmatch(sign)] == []
    assert allowed.fullmatch("!")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)a", "begin with"),
        ("a+?", "lazy"),
        (r"\ba", "escape"),
        ("[ -~]", "the range"),
        ('"', "leave its string"),
        ("(", "unterminated"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        pattern_expression(pattern)
