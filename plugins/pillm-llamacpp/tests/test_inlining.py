"""A schema with its references written out judges as it did before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pillm_llamacpp.grammars.inlining import inlined

from pillm.rows import named_schema

LEAVES = [
    {"type": "integer"},
    {"type": "string"},
    {"$ref": "#/$defs/a"},
    {"$ref": "#/$defs/b"},
    {"$ref": "#/$defs/a", "title": "A", "description": "said beside it"},
    {"$ref": "#/$defs/b", "minimum": 2, "maxLength": 1},
    {"$ref": "#/$defs/b", "allOf": [{"$ref": "#/$defs/a"}]},
    {"enum": [1, {"$ref": "#/no"}]},
]
PARTS = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"type": st.just("object"), "properties": st.fixed_dictionaries({"x": inner, "$ref": inner})}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=6,
)
BOUNDED = st.one_of(st.just({"type": "integer"}), st.just({"type": "array", "items": {"$ref": "#/$defs/b"}}))
VALUES = st.recursive(
    st.one_of(st.integers(0, 3), st.text(max_size=2), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["x", "$ref"]), inner, max_size=2)),
    max_leaves=6,
)


@given(part=PARTS, a=BOUNDED, b=BOUNDED, value=VALUES)
def test_it_accepts_what_it_accepted(part: dict[str, Any], a: Any, b: Any, value: Any) -> None:
    schema = {"$defs": {"a": a, "b": b}, "properties": {"v": part}}
    before, after = Draft202012Validator(schema), Draft202012Validator(inlined(schema))
    assert before.is_valid({"v": value}) == after.is_valid({"v": value})


@pytest.mark.parametrize("name", ["assistant", "calendar", "home"])
def test_the_schemas_that_pillm_ships_hold_no_reference_any_more(name: str) -> None:
    whole = inlined(named_schema(name))
    kept = {key: value for key, value in whole.items() if key != "$defs"}
    assert "$ref" not in json.dumps(kept)


def test_words_beside_a_reference_leave_no_trace_and_limits_stand_beside_what_is_written_out() -> None:
    defined = {"$defs": {"n": {"type": "integer"}}}
    said = inlined({"properties": {"a": {"$ref": "#/$defs/n", "description": "how many"}}, **defined})
    assert said["properties"]["a"] == {"type": "integer"}
    held = inlined({"properties": {"a": {"$ref": "#/$defs/n", "minimum": 2}}, **defined})
    assert held["properties"]["a"] == {"minimum": 2, "allOf": [{"type": "integer"}]}


def test_what_refers_to_itself_keeps_its_reference() -> None:
    tree = {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}
    validator = Draft202012Validator(inlined(tree))
    assert validator.is_valid([[], [[]]])
    assert not validator.is_valid([[1]])


@pytest.mark.parametrize(
    "schema",
    [
        {"$id": "http://example.invalid/a", "$defs": {"b": {"$id": "b"}}, "items": {"$ref": "b"}},
        {"items": {"$ref": "#here"}, "$defs": {"b": {"$anchor": "here"}}},
        {f"p{n}": {"anyOf": [{"$ref": f"#/p{n + 1}"}] * 4} for n in range(12)} | {"p12": {"type": "null"}},
    ],
    ids=["names of its own", "an anchor", "references that multiply"],
)
def test_other_names_and_endless_growth_are_left_as_they_are(schema: dict[str, Any]) -> None:
    assert inlined(schema) is schema
