"""The smoke test: which answers agree with what was answered before, and which do not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pillm
from pillm.contract import Contract
from pillm.deployment.smoke import SmokeTest, judge_all, smoke_from_json, smoke_of_words, smoke_to_json, tokens_for

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}, "at": {"type": "string"}},
    "required": ["room", "on"],
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def test_an_answer_is_judged() -> None:
    test = SmokeTest(messages=(), expected="yes")
    assert test.judge("yes\n") is None
    assert test.judge("no") == "it answered 'no', and 'yes' was expected"
    assert test.judge("") == "it answered nothing"
    assert SmokeTest(messages=(), expected=None).judge("anything") is None
    assert SmokeTest(messages=(), expected=None).judge(" ") == "it answered nothing"


@pytest.mark.parametrize(
    ("said", "agrees"),
    [
        ('{"on": true, "room": "kitchen", "at": "7 pm"}', True),  # the same value
        ('```json\n{"room": "kitchen", "on": true}\n```', True),  # one field was left out
        ('{"room": "kitchen", "on": true, "at": "8 pm"}', True),
        ('{"room": "hall", "on": false, "at": "8 pm"}', False),
        ('{"room": "kitchen"}', False),  # the schema asks for more
        ("kitchen", False),
        ("[" * 100_000, False),
    ],
)
def test_json_agrees_when_it_satisfies_the_schema_and_shares_half_of_the_fields(said: str, agrees: bool) -> None:
    expected = '{"room": "kitchen", "on": true, "at": "7 pm"}'
    assert (SmokeTest(messages=(), expected=expected, schema=SCHEMA).judge(said) is None) == agrees


@given(TEXTS, TEXTS)
def test_an_answer_agrees_with_itself_and_never_with_nothing(expected: str, said: str) -> None:
    test = SmokeTest(messages=(), expected=expected)
    assert test.judge("  ") is not None
    if expected.strip():
        assert test.judge(expected) is None
    assert judge_all([test], [said]) == test.judge(said)


def test_a_person_may_say_what_is_asked_and_how_the_answer_begins() -> None:
    contract = Contract(system="Be brief.")
    (test,) = smoke_of_words("Light?", "The light", contract)
    assert [message["content"] for message in test.messages] == ["Be brief.", "Light?"]
    assert test.judge("The light is on.") is None
    assert test.judge("The heater is on.") is not None
    (anything,) = smoke_of_words("any", None, contract)
    assert anything.messages[-1]["content"] == "Hello"
    assert anything.judge("whatever") is None


@given(TEXTS, TEXTS)
def test_tests_are_read_back_as_they_were_written(prompt: str, expected: str) -> None:
    tests = (
        SmokeTest(messages=({"role": "user", "content": prompt},), expected=expected, schema=SCHEMA, tokens=9),
        SmokeTest(messages=(), expected=None, begins=prompt),
    )
    assert smoke_from_json(json.loads(json.dumps(smoke_to_json(tests)))) == tests


@pytest.mark.parametrize("told", [{}, {"tests": []}, {"tests": [{}]}, {"tests": [3]}, {"request": {}, "expected": None}])
def test_what_is_no_test_is_not_read(told: object) -> None:
    with pytest.raises((KeyError, TypeError)):
        smoke_from_json(told)


@given(TEXTS)
def test_an_answer_is_never_cut_before_its_end(expected: str) -> None:
    assert tokens_for(expected) >= len(expected.encode()), "a token has a byte or more"
    assert tokens_for(None) == 64


def test_a_smoke_test_is_a_public_name() -> None:
    assert pillm.SmokeTest is SmokeTest
