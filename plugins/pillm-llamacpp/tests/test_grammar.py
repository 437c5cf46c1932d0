from __future__ import annotations

import json
from typing import Any

import pytest
from pillm_llamacpp.grammars.grammar import compile_schema
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp.workers.client import Worker
from pillm_llamacpp_tiny import request

import pillm


def thing(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


SMALL = thing(
    room={"enum": ["cuisine", "été", None]}, level={"type": "integer", "minimum": 1, "maximum": 12}, on={"type": "boolean"},
    at={"type": "string", "pattern": r"^\d{2}:[0-5]\d( am| pm)?$"}, day={"type": "string", "format": "date"},
    tags={"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1, "maxItems": 2},
    n={"type": "integer", "minimum": 0},
)  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "construct"),
    [
        (thing(n={"type": "number", "multipleOf": 0.5}), "the keyword 'multipleOf' for type number at #/properties/n"),
        (thing(n={"type": "number", "minimum": 0.5, "maximum": 0.25}), "of which there are none"),
        (thing(n={"type": "integer", "minimum": 3, "maximum": 2}), "of which there are none"),
        (thing(s={"type": "string", "format": "iri"}), "the format 'iri' at #/properties/s"),
        (thing(s={"type": "string", "pattern": '^"$'}), "could let an answer leave its string"),
        (thing(s={"type": "string", "pattern": "^[ -~]$"}), "could let an answer leave its string"),
        (thing(s={"type": "string", "pattern": "^(?=a)a$"}), r"\(\?"),
        (thing(s={"type": "string", "pattern": "^(a|bc)*(d|ef)*$", "maxLength": 500}), "maxLength and pattern together"),
        (thing(s={"type": "string", "pattern": "^abc$", "maxLength": 2}), "of which there are none"),
        (thing(s={"type": "string", "pattern": "^a$", "format": "date"}), "format and pattern together"),
        (thing(s={"type": "string", "maxLength": 100_000}), "a bound of 100000"),
        (thing(a={"type": "array", "items": {"type": "string"}, "uniqueItems": True}), "'uniqueItems'"),
        (thing(x=False), "the schema false"),
        (thing(x={"minLength": 3, "minItems": 2}), "'minLength' without a type"),
        (thing(x={"type": ["string", "null"], "minItems": 3}), "'minItems' for the types string, null"),
        (thing(x={"$ref": "https://example.com/x"}), "only '#/...' is followed"),
        (thing(x={"$ref": "#/properties/x"}), "which leads to itself"),
        (thing(x={"$ref": "#/nowhere"}), "leads nowhere"),
        ({**thing(), "required": ["ghost"]}, "the required property 'ghost'"),
        (thing(a={"type": "array", "items": {"enum": list("abcdefgh")}, "uniqueItems": True}), "'uniqueItems'"),
        ({"type": "object", "properties": {"a": {}}, "minProperties": 2}, "'minProperties' of 2 where 1 properties are named"),
        ({"type": "object", "additionalProperties": {}, "minProperties": 2}, "'minProperties' of 2 where no properties"),
        ({"allOf": [{"type": "object"}, {"type": "string"}]}, "the types object and string, of which there are none"),
        ({"allOf": [{"pattern": "a", "type": "string"}, {"pattern": "b"}]}, "'pattern' in parts that say it differently"),
        ({"not": {"type": "object"}}, "'not' without a type"),
        ({"type": "object", "patternProperties": {"a": {}}}, "'patternProperties'"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "a oneOf whose choices 0 and 1 may both hold"),
        ({"anyOf": [{"type": "string"}], "not": {}}, "'not' for type string at #/anyOf/0"),
        ({"type": "flower"}, "is not valid"),
    ],
)
def test_a_schema_that_cannot_be_held_to_is_refused_by_name(schema: dict[str, Any], construct: str) -> None:
    with pytest.raises(pillm.ConfigError, match=construct):
        compile_schema(schema, where="row-1")


def test_the_refusal_reaches_whoever_asks(gguf: pillm.ModelFile) -> None:
    schema = thing(s={"type": "string", "format": "iri"})
    with LocalRunner(constrain=True).open(gguf) as session:
        ((_, refused),) = session.answer(iter([request(schema=schema)]))
    assert isinstance(refused, pillm.Failure)
    assert refused.kind == "invalid"
    assert "the format 'iri'" in refused.message


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_constrained_answers_satisfy_their_schema(gguf: pillm.ModelFile, temperature: float) -> None:
    import jsonschema

    requests = [request(f"question {number}", number, schema=SMALL) for number in range(12)]
    with LocalRunner(constrain=True, max_tokens=200, temperature=temperature).open(gguf) as session:
        results = [result for _, result in session.answer(iter(requests))]
    whole = [result for result in results if isinstance(result, pillm.Answer)]
    assert len(whole) >= 6  # a random model may write digits until it is cut
    for result in whole:
        jsonschema.validate(json.loads(result.content), SMALL)
        assert result.finish_reason == "stop"


def test_an_answer_that_was_cut_is_a_failure(gguf: pillm.ModelFile) -> None:
    with LocalRunner(constrain=True, max_tokens=5).open(gguf) as session:
        ((_, result),) = session.answer(iter([request(schema=SMALL)]))
    assert isinstance(result, pillm.Failure)
    assert result.kind == "invalid"
    assert "after 5 tokens" in result.message


def test_without_constrain_a_schema_changes_nothing(gguf: pillm.ModelFile) -> None:
    with LocalRunner(max_tokens=6).open(gguf) as session:
        contents = {result.content for _, result in session.answer(iter([request(), request(number=1, schema={"not": {}})]))}  # type: ignore[union-attr]
    assert len(contents) == 1


def test_a_grammar_that_llama_cpp_cannot_read_is_an_error_and_not_a_crash(gguf: pillm.ModelFile) -> None:
    with Worker("a test") as worker:
        worker.ask(op="open", path=str(gguf.path))
        packet = {"op": "generate", "id": 1, "messages": [{"role": "user", "content": "a"}], "max_tokens": 3}
        worker.send({**packet, "temperature": 0.0, "seed": 0, "logprobs": 0, "grammar": "root ::= ("})
        assert "cannot compile the grammar" in worker.receive()["refused"]


def test_references_are_written_out(gguf: pillm.ModelFile) -> None:
    schema = {"oneOf": [{"$ref": "#/$defs/a/string"}, {"$ref": "#/$defs/b/string"}],
              "$defs": {"a": {"string": thing(x={"const": 1})}, "b": {"string": thing(y={"const": 2})}}}  # fmt: skip
    gbnf = compile_schema(schema, where="row").gbnf
    assert 'x\\":' in gbnf
    assert 'y\\":' in gbnf


def test_the_bundled_schemas_of_rows_can_be_held_to() -> None:
    from pillm.rows import named_schema

    for name in ("home", "calendar", "email", "note", "localsearch", "assistant"):
        assert compile_schema(named_schema(name), where=name).gbnf
