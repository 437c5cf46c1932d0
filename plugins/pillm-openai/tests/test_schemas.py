"""The strict form never allows what the row's schema forbids, and is left where it would say something else."""

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_openai.schemas import response_format, strict_form

TEXT = {"type": "string"}
DRAFT = "https://json-schema.org/draft/2020-12/schema"
DEFS = {"b": {"enum": [1, 2]}}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (
            {"$schema": DRAFT, "type": "object", "properties": {"a": TEXT}, "required": ["a"]},
            {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False},
        ),
        (
            {"type": "object", "properties": {"a": {"type": ["string", "null"]}}},
            {
                "type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"],
                "additionalProperties": False,
            },
        ),
        (
            {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "required": ["a"], "$defs": DEFS},
            {
                "type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "required": ["a"], "$defs": DEFS,
                "additionalProperties": False,
            },
        ),
    ],
)  # fmt: skip
def test_a_schema_that_can_be_strict_is(schema, strict):
    assert strict_form(schema) == strict


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": TEXT},
        {"type": "object"},
        {"type": "object", "properties": {"a": TEXT}},
        {"type": "object", "properties": {"a": {"enum": ["x"], "type": ["string", "null"]}}},
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": True},
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}, "required": ["a"]},
        {"type": "object", "properties": {"a": True}, "required": ["a"]},
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "array"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"$ref": "https://example.com/a"}}, "required": ["a"]},
        {"type": "object", "anyOf": [{"properties": {}}], "properties": {"a": TEXT}, "required": ["a"]},
        {"type": "object", "properties": [1], "required": ["a"]},
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "$defs": 3},
    ],
)
def test_a_schema_that_the_strict_form_would_change_goes_as_it_is(schema):
    assert strict_form(schema) is None
    sent = response_format(schema, None, [])
    assert sent["json_schema"] == {"name": "answer", "schema": schema, "strict": False}


def test_some_json_is_asked_for_only_where_the_conversation_says_json():
    assert response_format({}, None, [{"role": "user", "content": "Réponds en JSON."}]) == {"type": "json_object"}
    assert response_format({}, None, [{"role": "user", "content": "Réponds."}]) is None


def test_a_name_that_the_server_would_refuse_is_replaced():
    assert response_format({"type": "string"}, "a name!", [])["json_schema"]["name"] == "answer"


leaf = st.sampled_from(
    [TEXT, {"type": "integer"}, {"type": ["string", "null"]}, {"enum": [1, "a", None]}, {"minLength": 1}, {}]
)
schemas = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(
            lambda properties, required: {
                "type": "object",
                "properties": properties,
                "required": sorted(required & set(properties)),
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.sets(st.sampled_from("abc")),
        ),
        st.builds(lambda choices: {"anyOf": choices}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=6,
)
values = st.recursive(
    st.sampled_from([None, 1, "a", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(schemas, values)
def test_whatever_satisfies_the_strict_form_satisfies_the_schema(schema, value):
    strict = strict_form(schema)
    if strict is not None and jsonschema.Draft202012Validator(strict).is_valid(value):
        jsonschema.Draft202012Validator(schema).validate(value)


def of(**properties):
    return {"type": "object", "properties": properties, "required": list(properties)}


def nested(levels):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = of(a=schema)
    return schema


@pytest.mark.parametrize(
    ("fits", "too_much"),
    [
        (nested(10), nested(11)),
        (of(a={"enum": [str(n) for n in range(1000)]}), of(a={"enum": [str(n) for n in range(1001)]})),
        (of(**{f"p{n}": {"type": "null"} for n in range(5000)}), of(**{f"p{n}": {"type": "null"} for n in range(5001)})),
        (of(a={"enum": ["x" * 60 + str(n) for n in range(240)]}), of(a={"enum": ["x" * 60 + str(n) for n in range(260)]})),
        (of(a={"const": "x" * 100_000}), of(a={"const": "x" * 120_001})),
        (of(a={"type": "string", "format": "date"}), of(a={"type": "string", "format": "iri"})),
        (of(a={"type": "string", "pattern": "^(?:a|b)+$"}), of(a={"type": "string", "pattern": "^(?!a)"})),
    ],
)
def test_what_openai_refuses_in_the_strict_form_is_sent_as_it_is(fits, too_much):
    assert strict_form(fits) is not None
    assert strict_form(too_much) is None
