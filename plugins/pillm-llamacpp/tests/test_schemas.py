"""Every answer that a grammar lets through satisfies its schema, and what no grammar is made for is named with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pillm_llamacpp.grammars.grammar import compile_schema
from pillm_llamacpp.process.serving import Served
from pillm_llamacpp_walks import accepts, walk

import pillm

TOOLS = [json.loads(line) for line in Path(__file__).with_name("public_tools.jsonl").read_text("utf-8").splitlines()]
NAMES = st.sampled_from(["a", "b", "name", "naïve", 'q"', "x y", "émoji 😀"])
VALUES = st.sampled_from(["oui", "on", "one", 'say "hi"', "a\\b", "", 1, 10, -3, 2.5, True, None])
SMALL = st.integers(-1200, 1200) | st.decimals(-12, 12, places=2).map(float)
DEFINED = {
    "word": {"type": "string", "minLength": 1},
    "pair": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0.5}, "b": {"$ref": "#/$defs/word"}}},
    "tree": {"type": "object", "properties": {"tree": {"$ref": "#/$defs/tree"}, "a": {}}, "required": ["a"]},
}


@pytest.fixture(scope="module")
def served(gguf: pillm.ModelFile) -> Iterator[Served]:
    found = Served(path=str(gguf.path), vocab_only=True)
    yield found
    found.model.close()


def check(served: Served, schema: dict[str, Any], walks: int, most: int = 160) -> int:
    """Return how many walks through a schema's grammar came to an end; each satisfies it."""
    gbnf, finished = compile_schema(schema, where="row").gbnf, 0
    for seed in range(walks):
        text = walk(served, gbnf, seed, most)
        if text is not None:
            finished += 1
            fault = next(iter(Draft202012Validator(schema).iter_errors(json.loads(text))), None)
            assert fault is None, f"{text} {fault} {schema}"
    return finished


def bounded(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    keys = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    return st.dictionaries(st.sampled_from(keys), SMALL, max_size=2).map(lambda bounds: {"type": kind, **bounds})


LEAVES = st.one_of(
    st.just({"type": "string"}), st.just({"type": "boolean"}), st.just({"type": "null"}), st.just({}),
    bounded("integer"), bounded("number"), st.lists(VALUES, min_size=1, max_size=5).map(lambda values: {"enum": values}),
    st.tuples(st.integers(0, 4), st.integers(0, 6)).map(lambda n: {"type": "string", "minLength": n[0], "maxLength": n[1]}),
    st.sampled_from(["date", "time", "uuid", "email", "ipv4", "uri", "iri"]).map(
        lambda name: {"type": "string", "format": name}
    ),
    st.tuples(
        st.sampled_from([r"^a+$", r"^[a-f]{2,3}-\d$", r"x.", r"^(ab|c)?$", r"^[^a-z]+$", "a(?=b)", r"^(ab?|\d-)*z{1,2}$"]),
        st.dictionaries(st.sampled_from(["minLength", "maxLength"]), st.integers(0, 9)),
    ).map(lambda told: {"type": "string", "pattern": told[0], **told[1]}),
    st.just({"type": "array", "items": {"type": "string"}, "uniqueItems": True}), st.just({"$ref": "#"}),
    st.tuples(st.sampled_from(sorted(DEFINED)), st.dictionaries(
        st.sampled_from(["description", "default", "minLength", "maxLength", "minProperties"]), st.integers(0, 3),
        max_size=2)).map(lambda told: {"$ref": f"#/$defs/{told[0]}", **told[1]} | ({"title": "x", "description": "y"})),
    st.tuples(st.lists(VALUES, min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 4)).map(
        lambda n: {"type": "array", "items": {"enum": n[0]}, "uniqueItems": True, "minItems": n[1], "maxItems": n[2]}
    ),
)  # fmt: skip


def grown(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    objects = st.dictionaries(NAMES, inner, max_size=4).flatmap(
        lambda properties: st.sets(st.sampled_from(sorted(properties) or ["a"])).map(
            lambda needed: {"type": "object", "properties": properties, "required": sorted(needed & properties.keys())}
        )
    )
    arrays = st.tuples(inner, st.integers(0, 2), st.integers(0, 3)).map(
        lambda told: {"type": "array", "items": told[0], "minItems": told[1], "maxItems": told[2]}
    )
    unions = st.lists(inner, min_size=1, max_size=3).flatmap(
        lambda choices: st.sampled_from(["anyOf", "oneOf"]).map(lambda key: {key: choices})
    )
    maps = inner.map(lambda one: {"type": "object", "additionalProperties": one})
    counts = st.dictionaries(st.sampled_from(["minProperties", "maxProperties"]), st.integers(0, 3))
    counted = st.tuples(objects | maps, counts, st.booleans()).map(
        lambda told: {**told[0], **told[1], **({"propertyNames": {"maxLength": 4}} if told[2] else {})}
    )
    tuples = st.tuples(
        arrays, st.lists(inner, min_size=1, max_size=3), st.sampled_from([{}, {"items": False}, {"minItems": 0}])
    ).map(lambda told: {key: one for key, one in told[0].items() if key != "items"} | {"prefixItems": told[1]} | told[2])
    needs = st.lists(NAMES, min_size=1, max_size=2, unique=True).map(lambda names: {"required": names})
    beside = st.tuples(
        objects, st.sampled_from(["anyOf", "allOf"]), st.lists(needs | objects | inner, min_size=1, max_size=2)
    ).map(lambda told: {**told[0], told[1]: told[2]})
    return st.one_of(objects, objects, arrays, unions, maps, counted, tuples, beside)


SCHEMAS = st.recursive(LEAVES, grown, max_leaves=8).map(lambda schema: {**schema, "$defs": DEFINED})


def _any_schema(served: Served, schema: dict[str, Any]) -> None:
    try:
        compile_schema(schema, where="row")
    except pillm.ConfigError as error:
        refused = str(error)
    else:
        check(served, schema, 2)
        return
    assert " at #" in refused or "is not valid" in refused


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS)
def test_what_a_grammar_lets_through_satisfies_its_schema(served: Served, schema: dict[str, Any]) -> None:
    _any_schema(served, schema)


@pytest.mark.full
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS)
def test_what_five_hundred_grammars_let_through_satisfies_their_schemas(served: Served, schema: dict[str, Any]) -> None:
    _any_schema(served, schema)


def test_two_hundred_schemas_of_public_tools_are_held_to_or_refused_by_name(served: Served) -> None:
    assert len(TOOLS) >= 200
    for number, tool in enumerate(TOOLS):
        if "refused" in tool:
            with pytest.raises(pillm.ConfigError) as refused:
                compile_schema(tool["schema"], where=tool["name"])
            assert tool["refused"] in str(refused.value), tool["name"]
        elif number % 8 == 0:
            check(served, tool["schema"], 1)
        else:
            assert compile_schema(tool["schema"], where=tool["name"]).gbnf
    assert sum("refused" not in tool for tool in TOOLS) >= 204


@pytest.mark.full
def test_every_answer_that_satisfies_a_public_tool_is_found_by_walking(served: Served) -> None:
    finished = [check(served, tool["schema"], 2, 700) for tool in TOOLS if "refused" not in tool]
    assert sum(map(bool, finished)) > len(finished) * 3 // 4


@pytest.mark.parametrize(
    ("schema", "allowed", "refused"),
    [
        ({"type": "integer", "minimum": 7, "maximum": 12_345}, ["7", "99", "100", "9999", "12345"], ["6", "07", "12346", "-7"]),
        ({"type": "integer", "maximum": -3}, ["-3", "-14"], ["-2", "0", "3"]),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, ["0", "0.5", "0.999"], ["1", "-0.1", "1.0"]),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 100}, ["0.01", "7", "100", "100.0"], ["0", "0.0", "100.1"]),
        ({"type": "number", "minimum": -90, "maximum": 90}, ["-90", "-0.5", "0", "89.9"], ["-90.1", "91"]),
        ({"enum": ["on", "one", 'a"b', "😀"]}, ['"on"', '"one"', '"a\\"b"', '"😀"'], ['"o"', '"onee"', '"a"b"']),
        ({"enum": [1, 10, 100]}, ["1", "10", "100"], ["0", "1000"]),
        ({"type": "string", "maxLength": 2}, ['""', '"é"', '"\\n"', '"😀a"'], ['"abc"', '"\\ud83d"']),
        ({"type": "string", "format": "date"}, ['"2026-02-28"'], ['"2026-02-30"', '"2026-13-01"']),
        ({"type": "string", "pattern": "^[a-z]{2}\\.\\d$"}, ['"ab.1"'], ['"abx1"', '"ab.12"']),
        ({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 2}, ["[null]", "[null, null]"], ["[]"]),
        ({"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}}, ["{}", '{"b": 2}', '{"a": 1, "b": 2}'],
         ['{"b": 2, "a": 1}', '{"c": 1}', '{"a": 1,}']),
        ({"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["b"]},
         ['{"b": 2}', '{"b":2,"a":1}'], ['{"a": 1}']),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}},
         ["{}", '{"next": {"next": {}}}'], ['{"next": 1}']),
    ],
)  # fmt: skip
def test_a_grammar_lets_through_what_its_schema_says(
    served: Served, schema: dict[str, Any], allowed: list[str], refused: list[str]
) -> None:
    gbnf = compile_schema(schema, where="row").gbnf
    assert [text for text in allowed if not accepts(served, gbnf, text)] == []
    assert [text for text in refused if accepts(served, gbnf, text)] == []


def test_the_schemas_that_pydantic_writes_are_held_to(served: Served) -> None:
    import pydantic

    class Cat(pydantic.BaseModel):
        kind: Literal["cat"]
        lives: Annotated[float, pydantic.Field(gt=0.5, le=9.25)] = 9

    class Dog(pydantic.BaseModel):
        kind: Literal["dog"]
        name: Annotated[str, pydantic.Field(pattern="^[A-Z][a-z]*$", min_length=2, max_length=6)]

    class Room(pydantic.BaseModel):
        size: tuple[int, float, Literal["m", "ft"]]
        tags: set[Literal["warm", "cold", "dark"]]
        best: Cat | None = pydantic.Field(None, description="The best of all.")
        pets: list[Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]] = pydantic.Field(max_length=2)
        next: Room | None = None
        counts: dict[Literal["a", "b"], bool] = pydantic.Field(min_length=1)

    # the class is known in this function alone
    Room.model_rebuild(_types_namespace={"Room": Room, "Cat": Cat, "Dog": Dog})
    schema = Room.model_json_schema()
    assert check(served, schema, 4, 600)
    whole = (
        '{"size": [1, 2.5, "m"], "tags": ["dark", "warm"], "pets": [{"kind": "dog", "name": "Rex"}, {"kind": "cat"}], '
        '"counts": {"a": true}, "next": null}'
    )
    gbnf = compile_schema(schema, where="row").gbnf
    assert accepts(served, gbnf, whole)
    for wrong, right in (("dark", "warm"), ("Rex", "R"), ("2.5, ", ""), ('{"a": true}', "{}")):
        assert not accepts(served, gbnf, whole.replace(wrong, right, 1)), wrong


def test_the_bundled_rows_own_answers_are_let_through(served: Served) -> None:
    rows = pillm.read_prompts(Path(__file__).parents[3] / "dataset" / "assistant" / "prompts.jsonl")
    held = [row for row in rows if row.schema is not None and row.reference is not None][::97][:24]
    assert held
    for row in held:
        assert row.schema is not None
        assert row.reference is not None
        assert accepts(served, compile_schema(row.schema, where=row.id).gbnf, row.reference.content), row.id
