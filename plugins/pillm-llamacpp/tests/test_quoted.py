from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import FormatChecker
from pillm_llamacpp.grammars.quoted import FORMATS, of_length, quoted
from pillm_llamacpp_walks import regex


@pytest.mark.parametrize("name", sorted(FORMATS))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_a_format_lets_through_has_that_format(name: str, data: st.DataObject) -> None:
    text = json.loads(data.draw(st.from_regex(regex(quoted(FORMATS[name])), fullmatch=True)))
    assert name == "time" or FormatChecker().conforms(text, name), text  # a time is checked by none that is installed


@settings(max_examples=20, deadline=None)
@given(data=st.data(), low=st.integers(0, 3), more=st.integers(0, 3))
def test_a_string_of_a_length_has_it(data: st.DataObject, low: int, more: int) -> None:
    text = json.loads(data.draw(st.from_regex(regex(of_length(low, low + more)), fullmatch=True)))
    assert low <= len(text) <= low + more
