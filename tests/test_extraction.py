"""Where the JSON of an answer may stand, and that nothing else is taken for it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.extraction import extract_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
CONTAINERS = st.lists(VALUES, max_size=3) | st.dictionaries(st.text(max_size=4), VALUES, max_size=3)
WORDS = st.text("abc é.,:!\n", max_size=20)


@settings(deadline=None)
@given(VALUES, st.sampled_from([None, 2]), st.sampled_from(["", " ", "\n\t"]))
def test_a_bare_value_is_found_as_it_was_written(value: Any, indent: int | None, space: str) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    assert extract_json(space + text + space) == (value, "whole", text)


@settings(deadline=None)
@given(VALUES, st.sampled_from(["", "json", "JSON"]), WORDS, WORDS)
def test_one_fenced_block_is_found_whatever_stands_around_it(value: Any, info: str, before: str, after: str) -> None:
    text = json.dumps(value, ensure_ascii=False)
    found = extract_json(f"{before}```{info}\n{text}\n```{after}")
    assert (found.value, found.text) == (value, text)
    assert found.where == ("fence" if not (before + after).strip() else "fence in prose")


@settings(deadline=None)
@given(CONTAINERS, WORDS, WORDS)
def test_one_value_in_prose_is_found_on_demand_only(value: Any, before: str, after: str) -> None:
    text = json.dumps(value, ensure_ascii=False)
    answer = f"x{before}{text}{after}x"
    found = extract_json(answer, prose=True)
    assert (found.value, found.text, found.where) == (value, text, "prose")
    with pytest.raises(ValueError):  # noqa: PT011 - its words are JSON's own
        extract_json(answer)


@settings(deadline=None)
@given(st.text() | st.text('{}[]":,`json \n1'), st.booleans())
def test_any_text_gives_a_value_or_a_value_error(text: str, prose: bool) -> None:
    try:
        found = extract_json(text, prose=prose)
    except ValueError:
        return
    assert found.text in text
    assert json.loads(found.text) == found.value


@pytest.mark.parametrize(
    "text",
    [
        "```json\n{}\n```\nor\n```json\n[]\n```",
        "```python\n{}\n```",
        '```json\n{"a": 1}',
        "```",
        "{} {}",
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        '{"a": "\\ud83d"}',
        "",
    ],
)
def test_what_is_not_one_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its words are JSON's own
        extract_json(text)


@pytest.mark.parametrize("text", ["first {} then {}", "see [1]: {}", "no value, only 12 words", "a { that opens nothing"])
def test_prose_with_no_value_or_several_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="JSON"):
        extract_json(text, prose=True)


def test_a_fence_within_a_string_is_a_part_of_it() -> None:
    value = {"code": "```\nx\n```"}
    assert extract_json(json.dumps(value)).value == value
    assert extract_json(f"```json\n{json.dumps(value)}\n```").value == value


@pytest.mark.parametrize("text", ["[" * 10**6, "{" * 10**6, "```" * 10**5, '{"a":' * 10**5, "[1]" * 10**5])
def test_a_hostile_answer_is_refused_in_a_moment(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError):  # noqa: PT011 - its words are JSON's own
        extract_json(text, prose=True)
    assert time.monotonic() - began < 5
