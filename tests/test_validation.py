"""What makes an answer unfit to train on, where it went wrong, and how an accepted one is cleaned."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.records import Answer, Prompt
from pillm.validation import Checks, cleaned, is_refusal, repeated, validate

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "object", "properties": {"b c": {"type": "integer"}}}, "n": {"type": "integer"}},
    "required": ["n"],
}
TOOL = {
    "type": "function",
    "function": {"name": "light", "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}}},
}


def asked(schema: dict[str, Any] | None = None, *, tools: tuple[dict[str, Any], ...] = ()) -> Prompt:
    return Prompt(id="a", messages=({"role": "user", "content": "hi"},), schema=schema, tools=tools)


def call(name: Any = "light", arguments: Any = "{}") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(""), "empty"),
        (Answer(" \n"), "empty"),
        (Answer("half a sent", finish_reason="length"), "cut"),
        (Answer("some", finish_reason="content_filter"), "refused"),
        (Answer("I'm sorry, but I can't help with that."), "refused"),
        (Answer("and then " * 100), "repeated"),
        (Answer("a good answer"), None),
    ],
)
def test_free_text_is_refused_for_what_it_is(answer: Answer, fault: str | None) -> None:
    found = validate(asked(), answer)
    assert found.fault == fault
    assert bool(found.reason) == (not found.accepted)


@pytest.mark.parametrize(
    ("content", "fault", "path"),
    [
        ('{"n": 1}', None, None),
        ('```json\n{"n": 1}\n```', None, None),
        ('Here you are:\n```json\n{"n": 1}\n```\nAnything else?', None, None),
        ('{"n": "1"}', "schema", "$.n"),
        ('{"n": 1, "a": {"b c": "x"}}', "schema", "$.a['b c']"),
        ("{}", "schema", "$"),
        ('Sure: {"n": 1}', "not_json", None),
        ('{"n": 1', "not_json", None),
        ("Je suis désolée, mais je ne peux pas vous aider avec cela.", "refused", None),
    ],
)
def test_json_is_refused_with_the_path_of_the_complaint(content: str, fault: str | None, path: str | None) -> None:
    found = validate(asked(SCHEMA), Answer(content))
    assert (found.fault, found.path) == (fault, path)
    if path:
        assert path in found.reason


def test_a_reason_stays_short_whatever_the_schema_complains_of() -> None:
    assert len(validate(asked({"type": "object"}), Answer(json.dumps(["x" * 10**5]))).reason) < 500


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "http://example.invalid/x.json"}, {"$ref": "#"}, {"pattern": "("}]
)
def test_a_schema_that_cannot_judge_is_blamed_instead_of_the_answer(schema: dict[str, Any]) -> None:
    found = validate(asked(schema), Answer('"x"'))
    assert found.fault == "unjudged"
    assert found.reason.startswith("the answer cannot be judged: ")


def test_what_is_trained_on_is_the_bare_json_as_it_was_written() -> None:
    raw = Answer('Voilà :\n```json\n{"n": 1,\n "m": "é"}\n```', token_ids=(1,), logprobs=(((1, 0.0),),), raw=b"all of it")
    kept = cleaned(asked(SCHEMA), raw)
    assert kept.content == '{"n": 1,\n "m": "é"}'
    assert (kept.token_ids, kept.logprobs, kept.raw) == (None, None, b"all of it")


def test_one_value_in_prose_is_taken_where_the_checks_say_so() -> None:
    answer = Answer('Sure: {"n": 1} - that is it.')
    assert cleaned(asked(SCHEMA), answer) is answer
    assert cleaned(asked(SCHEMA), answer, Checks(prose=True)).content == '{"n": 1}'


@pytest.mark.parametrize("content", ['{"n": 1}', ' {"n": 1}\n', "not JSON"])
def test_an_answer_that_stands_as_it_is_keeps_all_that_belongs_to_it(content: str) -> None:
    answer = Answer(content, token_ids=(1, 2))
    assert cleaned(asked(SCHEMA), answer) is answer


@pytest.mark.parametrize(
    ("calls", "tools", "fault"),
    [
        ((call(),), (TOOL,), None),
        ((call(arguments={"on": True}),), (TOOL,), None),
        ((call(arguments='{"on": "yes"}'),), (TOOL,), "tool_call"),
        ((call(arguments="{torn"),), (TOOL,), "tool_call"),
        ((call(arguments="{torn"),), (), "tool_call"),
        ((call("door"),), (TOOL,), "tool_call"),
        ((call(["light"]),), (TOOL,), "tool_call"),
        (("light()",), (TOOL,), "tool_call"),
        (({"function": {"name": "x"}},), (), None),
        (({"function": {"name": "light"}},), ({"name": "light", "parameters": {"type": "nonsense"}},), None),
    ],
)
def test_tool_calls_are_held_against_the_tools_that_were_offered(
    calls: tuple[Any, ...], tools: tuple[Any, ...], fault: str | None
) -> None:
    assert validate(asked(tools=tools), Answer("", tool_calls=calls)).fault == fault


def test_a_call_may_stand_in_the_place_of_json_where_tools_were_offered() -> None:
    assert validate(asked(SCHEMA, tools=(TOOL,)), Answer("", tool_calls=(call(),))).accepted
    assert not validate(asked(SCHEMA), Answer("", tool_calls=(call(),))).accepted


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m really sorry, I cannot provide instructions for this.",
        "As an AI language model, I cannot create content like that.",
        "I am unable to help you with that.",
        "Sorry, I won't generate that.",
        "I can't comply with your request.",
        "Je suis désolé, mais je ne peux pas vous aider avec cette demande.",
        "Désolée, je ne peux pas répondre à cette question.",
        "En tant qu'IA, je ne suis pas en mesure de fournir ces informations.",
        "Je refuse de faire cela.",
    ],
)
def test_refusals_are_recognised_in_two_languages(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry I can't make it on Friday; my train is late.",
        "Sorry, I cannot come to the party.",
        "I cannot recommend this film enough.",
        "You can't help with that? Then call Sophie.",
        "Désolé, je ne peux pas venir samedi.",
        "Je ne peux pas m'empêcher de rire.",
        "No, I can do that tomorrow.",
        "Write: I'm sorry, but I can't help with that.",
        "I can't help with that today. " + "But here is everything else that you asked for, at length. " * 20,
        "",
    ],
)
def test_an_answer_that_only_sounds_like_a_refusal_is_none(text: str) -> None:
    assert not is_refusal(text)


def test_the_heuristics_can_be_left_out() -> None:
    plain = Checks(refusals=False, repetitions=False)
    assert validate(asked(), Answer("I can't help with that."), plain).accepted
    assert validate(asked(), Answer("and then " * 100), plain).accepted


@pytest.mark.parametrize("unit", ["a", "no, ", "This is a sentence that comes again and again. "])
def test_a_loop_at_the_end_is_seen(unit: str) -> None:
    assert repeated("It began well enough. " + unit * 500)


@pytest.mark.parametrize(
    "text",
    [
        "It began well. " + "\n".join(f"{number}. item of the list" for number in range(100)),
        "0, " * 500,
        "-" * 1000,
        "ha " * 30,
        "one line. " * 20 + "Then the end of it all, which is another text.",
        "A song. " * 3 + "".join(f"verse {number}, " for number in range(60)) + "and the refrain comes again, la la la. " * 2,
    ],
)
def test_lists_rules_and_numbers_are_no_loop(text: str) -> None:
    assert repeated(text) is None


@settings(deadline=None)
@given(st.text(min_size=1, max_size=30).filter(lambda unit: any(map(str.isalpha, unit))), st.text(max_size=100))
def test_any_unit_with_a_letter_said_often_enough_is_a_loop(unit: str, before: str) -> None:
    assert repeated(before + unit * (len(unit) + 420)) is not None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from(["type", "$ref", "enum", "properties", "items"])
SCHEMAS = st.none() | st.just(SCHEMA) | st.dictionaries(WORDS, ANYTHING)


@settings(deadline=None)
@given(
    st.text() | ANYTHING.map(lambda value: f"```json\n{json.dumps(value)}\n```"),
    SCHEMAS,
    st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
    st.lists(st.dictionaries(st.sampled_from(["function", "name", "arguments"]), ANYTHING), max_size=2),
    st.booleans(),
)
def test_no_answer_and_no_schema_makes_validation_raise(
    content: str, schema: dict[str, Any] | None, finish: str, calls: list[dict[str, Any]], prose: bool
) -> None:
    answer = Answer(content, finish_reason=finish, tool_calls=tuple(calls))
    prompt = asked(schema, tools=(TOOL,) if prose else ())
    found = validate(prompt, answer, Checks(prose=prose))
    assert found.accepted == (not found.reason)
    kept = cleaned(prompt, answer, Checks(prose=prose))
    if found.accepted:
        assert validate(prompt, kept, Checks(prose=prose)).content == kept.content
    else:
        assert kept is answer
