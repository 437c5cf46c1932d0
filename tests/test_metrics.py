"""The built-in metrics."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.metrics import Exact, Fields, SatisfiesSchema, ValidJSON, answer_json, leaves, pillm_metrics, schema_error
from pillm.records import Answer, Prompt, Reference

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"]}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text("abé .[0]", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abé .[0]", max_size=4), inner, max_size=3),
    max_leaves=8,
)


def prompt(truth: str | None = None, schema: dict[str, Any] | None = None, **message: Any) -> Prompt:
    reference = Reference(message={"role": "assistant", "content": truth, **message}) if truth is not None else None
    return Prompt(id="1", messages=({"role": "user", "content": "?"},), schema=schema, reference=reference)


@pytest.mark.parametrize(
    ("truth", "answer", "schema", "score"),
    [
        ("oui", " oui\n", None, 1.0),
        ("e\u0301t\u00e9", "\u00e9te\u0301", None, 1.0),
        ("oui", "Oui", None, 0.0),
        ('{"n": 1, "m": "a"}', '{"m":"a","n":1}', {}, 1.0),
        ('{"n": 1}', '```json\n{"n": 1}\n```', {}, 1.0),
        ('{"n": 1}', '{"n": 1.0}', {}, 1.0),
        ('{"n": 1}', '{"n": true}', {}, 0.0),
        ('{"n": 1}', '{"n": "1"}', {}, 0.0),
        ('{"n": 1}', "n is 1", {}, 0.0),
        ('{"n": 1}', '{"n": 1e999}', {}, 0.0),
        ('{"n": 1}', '{"n": 2, "n": 1}', {}, 0.0),
        ('{"n": 1}', '{"n":1}', None, 0.0),
    ],
)
def test_exact_compares_json_values_where_there_is_a_schema_and_text_elsewhere(
    truth: str, answer: str, schema: dict[str, Any] | None, score: float
) -> None:
    assert Exact().score(prompt(truth, schema), Answer(answer)) == score


def test_exact_compares_tool_calls_by_name_and_arguments() -> None:
    def call(name: str, arguments: Any, id: str = "1") -> dict[str, Any]:
        return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}

    row = prompt("", tool_calls=[call("HassTurnOn", '{"name": "lampe"}')])
    assert Exact().score(row, Answer("", tool_calls=(call("HassTurnOn", {"name": "lampe"}, id="2"),))) == 1.0
    assert Exact().score(row, Answer("", tool_calls=(call("HassTurnOff", '{"name": "lampe"}'),))) == 0.0
    assert Exact().score(row, Answer("", tool_calls=(call("HassTurnOn", "{torn"),))) == 0.0
    assert Exact().score(row, Answer("")) == 0.0
    assert Exact().score(prompt(""), Answer("", tool_calls=(call("HassTurnOn", "{}"),))) == 0.0


def test_a_tool_call_in_place_of_the_json_that_a_schema_asks_for_is_compared_as_a_call() -> None:
    def call(arguments: Any) -> dict[str, Any]:
        return {"function": {"name": "note", "arguments": arguments}}

    row = prompt("", SCHEMA, tool_calls=[call('{"n": 1}')])
    assert Exact().score(row, Answer("", tool_calls=(call({"n": 1.0}),))) == 1.0
    assert Exact().score(row, Answer('{"n": 1}', tool_calls=(call({"n": 1}),))) == 0.0
    assert Exact().score(row, Answer('{"n": 1}')) == 0.0


@pytest.mark.parametrize("call", [{"function": "note"}, {"function": {"name": None}}, {}, {"function": []}])
def test_a_call_of_no_known_form_is_wrong_and_breaks_nothing(call: dict[str, Any]) -> None:
    row = prompt("", tool_calls=[{"function": {"name": "note", "arguments": "{}"}}])
    assert Exact().score(row, Answer("", tool_calls=(call,))) == 0.0


def test_a_metric_says_without_scoring_whether_it_can_apply() -> None:
    metrics = (Exact(), ValidJSON(), SatisfiesSchema(), Fields())
    told = [metric.applies(prompt()) for metric in metrics]
    assert told == [True, False, False, False]  # exact can compare with the teacher's answer
    assert all(metric.applies(prompt(schema={"type": "object"})) for metric in metrics)


def test_a_metric_that_does_not_apply_gives_none() -> None:
    assert Exact().score(prompt(), Answer("x")) is None
    assert Fields().score(prompt(schema={}), Answer("{}")) is None
    assert Fields().score(prompt("{}"), Answer("{}")) is None
    assert ValidJSON().score(prompt(), Answer("{}")) is None
    assert SatisfiesSchema().score(prompt(), Answer("{}")) is None


@pytest.mark.parametrize(
    ("answer", "valid", "satisfied"), [('{"n": 3}', 1, 1), ('{"n": 10}', 1, 0), ("[]", 1, 0), ("{", 0, 0), ("", 0, 0)]
)
def test_json_and_schema_look_at_form_alone(answer: str, valid: int, satisfied: int) -> None:
    assert ValidJSON().score(prompt(schema=SCHEMA), Answer(answer)) == valid
    assert SatisfiesSchema().score(prompt(schema=SCHEMA), Answer(answer)) == satisfied


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"a": 1, "b": {"c": 2}}', 1.0),
        ('{"a": 1}', 2 / 3),
        ('{"a": 1, "b": {"c": 3}}', 0.5),
        ('{"a": 1, "b": {"c": 2}, "d": 4, "e": 5}', 4 / 6),
        ("{}", 0.0),
        ("nothing", 0.0),
    ],
)
def test_fields_is_the_f1_of_paths_with_their_values(answer: str, score: float) -> None:
    assert Fields().score(prompt('{"a": 1, "b": {"c": 2}}', {}), Answer(answer)) == pytest.approx(score)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_fields_is_one_exactly_where_exact_is(left: Any, right: Any) -> None:
    row, answer = prompt(json.dumps(left), {}), Answer(json.dumps(right))
    fields = Fields().score(row, answer)
    assert fields is not None
    assert 0 <= fields <= 1
    assert (fields == 1) == (Exact().score(row, answer) == 1)


@settings(deadline=None)
@given(st.text())
def test_no_answer_makes_a_metric_raise(text: str) -> None:
    for metric in (Exact(), ValidJSON(), SatisfiesSchema(), Fields()):
        score = metric.score(prompt('{"n": 1}', SCHEMA), Answer(text))
        assert score is not None
        assert 0 <= score <= 1


def test_json_deeper_than_any_honest_answer_is_not_json() -> None:
    assert ValidJSON().score(prompt(schema={}), Answer("[" * 100_000)) == 0.0
    assert ValidJSON().score(prompt(schema={}), Answer("[" * 70 + "]" * 70)) == 0.0


def test_keys_that_look_like_paths_stay_apart() -> None:
    assert set(leaves({"a.b": 1})) != set(leaves({"a": {"b": 1}}))
    assert set(leaves({"[0]": 1})) != set(leaves([1]))


def test_a_key_written_with_combining_accents_is_the_same_key() -> None:
    assert Fields().score(prompt('{"\u00e9t\u00e9": 1}', {}), Answer('{"e\u0301te\u0301": 1}')) == 1.0


def test_a_schema_error_names_the_path() -> None:
    assert schema_error(SCHEMA, {"n": 3}) is None
    assert str(schema_error(SCHEMA, {"n": 30})).startswith("$.n: ")


def test_a_wrong_schema_and_a_remote_reference_are_refused_and_never_fetched() -> None:
    with pytest.raises(ValueError, match="the schema itself is wrong"):
        schema_error({"type": "colour"}, 1)
    with pytest.raises(ValueError, match="never fetched"):
        schema_error({"$ref": "http://127.0.0.1:9/schema.json"}, 1)


@pytest.mark.parametrize("text", ["```\n[1]\n```", "```json\n[1]\n```", "```[1]```", " [1] "])
def test_a_fenced_answer_is_read(text: str) -> None:
    assert answer_json(text) == [1]


def test_the_plugin_brings_the_five_metrics() -> None:
    assert [metric.name for metric in pillm_metrics()] == ["exact", "json", "schema", "fields", "judge"]


@pytest.mark.parametrize(("text", "valid"), [("```\n{}\n```", 1), ("Here:\n```\n{}\n```", 0), ("{} as asked", 0)])
def test_a_student_s_json_must_be_all_that_it_says(text: str, valid: int) -> None:
    assert ValidJSON().score(prompt(schema={}), Answer(text)) == valid
