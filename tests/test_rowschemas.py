"""A schema that could not judge an answer is refused before an answer is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from pillm.errors import DataError
from pillm.records import Prompt
from pillm.rows import named_schema
from pillm.stages.rowschemas import check_schemas


def row(schema: dict[str, Any], where: str = "rows.jsonl:3") -> Prompt:
    return Prompt(id="a", messages=({"role": "user", "content": "hi"},), schema=schema, where=where)


LOOP = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/b"}]}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no type": ({"type": "objekt"}, r"wrong at \$\.type: 'objekt'"),
    "deep": ({"properties": {"n": {"minimum": "x"}}}, r"wrong at \$\.properties\.n\.minimum"),
    "no dialect": ({"$schema": 5}, r"'\$schema' is no text"),
    "far": ({"properties": {"n": {"$ref": "http://example.invalid/n.json"}}}, "refers to 'http://example.invalid/n.json'"),
    "nowhere": ({"items": {"$ref": "#/$defs/none"}}, r"refers to '#/\$defs/none'"),
    "no anchor": ({"items": {"$ref": "#none"}}, "refers to '#none'"),
    "a ref to text": ({"$ref": "#/title", "title": "T"}, "refers to '#/title', which is no schema"),
    "a ref to a wrong one": ({"$ref": "#/x", "x": {"type": "objekt"}}, "wrong at .*objekt"),
    "itself": ({"$ref": "#"}, "refers to itself without end"),
    "round about": ({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": LOOP}}, "without end"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_schema_that_could_not_judge_an_answer_is_named_with_its_row(name: str) -> None:
    schema, words = WRONG[name]
    with pytest.raises(DataError, match=rf"^rows\.jsonl:3: the schema .*({words}).*nothing was asked\.$"):
        check_schemas([row({"type": "object"}, "rows.jsonl:2"), row(schema)])


def test_a_row_that_came_from_no_file_is_named_by_its_id() -> None:
    with pytest.raises(DataError, match=r"^a: the schema"):
        check_schemas([row({"type": "objekt"}, where="")])


TREE = {"type": "object", "properties": {"next": {"$ref": "#"}, "all": {"type": "array", "items": {"$ref": "#"}}}}
SOUND: list[dict[str, Any]] = [
    {},
    TREE,
    {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}}},
    {"definitions": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/definitions/n"}}},
    {"const": {"$ref": "http://example.invalid/is-no-reference"}},
    {"properties": {"$ref": {"type": "string"}}},
    {"$ref": "https://json-schema.org/draft/2020-12/schema"},
    {"$schema": "http://json-schema.org/draft-04/schema#", "properties": {"a": {"minimum": 0, "exclusiveMinimum": True}}},
    {"$id": "http://example.invalid/a", "$defs": {"b": {"$id": "b", "type": "null"}}, "items": {"$ref": "b"}},
    {"$dynamicAnchor": "node", "properties": {"child": {"$dynamicRef": "#node"}}},
    {"not": {"type": "null"}, "allOf": [True], "if": {"required": ["a"]}, "dependentSchemas": {"a": {"required": ["b"]}}},
]


@pytest.mark.parametrize("schema", SOUND, ids=str)
def test_a_schema_that_only_looks_odd_is_let_through(schema: dict[str, Any]) -> None:
    check_schemas([row(schema)])


@pytest.mark.parametrize("name", ["assistant", "calendar", "email", "home", "localsearch", "note", "row", "recipe"])
def test_the_schemas_that_pillm_ships_are_sound(name: str) -> None:
    check_schemas([row(named_schema(name))])


def test_each_schema_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from jsonschema.validators import Draft202012Validator

    seen: list[object] = []
    monkeypatch.setattr("pillm.stages.rowschemas._SOUND", set())  # what other tests checked is no news any more
    monkeypatch.setattr(Draft202012Validator, "check_schema", lambda schema: seen.append(schema))
    check_schemas([row({"type": "string"}), row({"type": "string"}), row({"type": "number"})])
    assert seen == [{"type": "string"}, {"type": "number"}]
