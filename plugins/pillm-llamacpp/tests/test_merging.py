from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pillm_llamacpp.grammars.keywords import Impossible, Unsupported
from pillm_llamacpp.grammars.merging import conjoined

LEAVES = [{"type": "integer"}, {"type": ["number", "string"]}, {"minimum": 1}, {"maximum": 2, "type": "number"},
          {"enum": [1, True, "a"]}, {"enum": ["a", 1]}, {"const": "a"}, {"minLength": 1}, {}]  # fmt: skip
NAMED = st.fixed_dictionaries(
    {},
    optional={
        "properties": st.dictionaries(st.sampled_from("ab"), st.sampled_from(LEAVES), max_size=2),
        "additionalProperties": st.sampled_from([True, False, *LEAVES]),
        "required": st.lists(st.sampled_from("ab"), unique=True),
        "minProperties": st.integers(0, 2), "maxProperties": st.integers(0, 2),
        "propertyNames": st.sampled_from([{"enum": ["a"]}, {"maxLength": 1}]),
    },
)  # fmt: skip
PLACED = st.fixed_dictionaries(
    {},
    optional={
        "prefixItems": st.lists(st.sampled_from(LEAVES), min_size=1, max_size=2), "items": st.sampled_from([False, *LEAVES]),
        "minItems": st.integers(0, 2), "maxItems": st.integers(0, 2), "uniqueItems": st.booleans(),
    },
)  # fmt: skip
CHOSEN = st.lists(st.sampled_from(LEAVES), min_size=1, max_size=2).map(lambda one: {"anyOf": one})
PARTS = st.sampled_from(LEAVES) | NAMED | PLACED | CHOSEN
SIMPLE = st.sampled_from([0, 1, 1.5, 2, 3, True, None, "", "a"])
VALUES = SIMPLE | st.lists(SIMPLE, max_size=3) | st.dictionaries(st.sampled_from("abc"), SIMPLE, max_size=3)


@given(one=PARTS, other=PARTS, values=st.lists(VALUES, min_size=1, max_size=8))
def test_what_satisfies_the_one_schema_satisfies_both_and_no_less(one: Any, other: Any, values: list[Any]) -> None:
    both = Draft202012Validator({"allOf": [one, other]})
    try:
        made = Draft202012Validator(conjoined(one, other, "#"))
    except Impossible:
        assert not any(both.is_valid(value) for value in values)
        return
    for value in values:
        assert made.is_valid(value) == both.is_valid(value), (value, made.schema)


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"pattern": "a"}, {"pattern": "b"}, "'pattern' in parts that say it differently at #/x"),
        ({"anyOf": [{}] * 20}, {"anyOf": [{"type": "null"}] * 20}, "'anyOf'"),
    ],
)
def test_what_cannot_be_said_in_one_is_named(one: Any, other: Any, told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        conjoined(one, other, "#/x")
