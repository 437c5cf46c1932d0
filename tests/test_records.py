"""The key of an answer covers what the teacher is and is told, and nothing else; the records are plain values."""

import dataclasses
import hashlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm import Answer, DataError, Example, Prompt, Reference
from pillm.records import canonical, digest, request_key, schema_digest, with_split

USER = {"role": "user", "content": "Allume la lumière."}
BASE = Prompt(id="a", messages=(USER,), schema={"type": "object"}, tools=({"name": "f"},))
TEACHER = {"use": "openai", "model": "m", "temperature": 0.0}


def key(prompt=BASE, teacher=TEACHER, messages=None, sample=0):
    return request_key(teacher, messages or prompt.messages, prompt, sample)


words = st.text(max_size=8)


@settings(deadline=None)
@given(words, words, words, words, st.lists(words, max_size=2), st.dictionaries(words, st.integers(), max_size=2))
def test_the_key_does_not_depend_on_what_is_only_known_about_a_row(name, where, split, group, tags, metadata):
    other = dataclasses.replace(
        BASE, id=name, where=where, split=split, group=group, source=name, license=where, language=split,
        tags=tuple(tags), parents=tuple(tags), metadata=metadata, schema_name=name,
        reference=Reference(message={"role": "assistant", "content": where}), given={"role": "assistant", "content": name},
    )  # fmt: skip
    assert key(other) == key()


@pytest.mark.parametrize(
    "changed",
    [
        {"messages": ({"role": "user", "content": "Allume la lumiere."},)},
        {"messages": ({"role": "system", "content": "Sois bref."}, USER)},
        {"prompt": dataclasses.replace(BASE, schema=None)},
        {"prompt": dataclasses.replace(BASE, schema={})},
        {"prompt": dataclasses.replace(BASE, schema={"type": "array"})},
        {"prompt": dataclasses.replace(BASE, tools=())},
        {"prompt": dataclasses.replace(BASE, tools=({"name": "g"},))},
        {"sample": 1},
        {"teacher": {**TEACHER, "model": "n"}},
        {"teacher": {**TEACHER, "temperature": 0.5}},
        {"teacher": {**TEACHER, "revision": "2"}},
        {"teacher": {**TEACHER, "use": "hf"}},
    ],
)
def test_the_key_depends_on_everything_the_teacher_is_and_is_told(changed):
    assert key(**changed) != key()


def test_the_key_is_versioned_and_stays_what_it_was():
    # answers that people paid for are found by this text: whoever changes it brings a new KEY_VERSION
    schema = hashlib.sha256(b'{"type":"object"}').hexdigest()
    text = (
        '{"messages":[{"content":"Allume la lumière.","role":"user"}],"sample":0,"schema":"' + schema + '",'
        '"teacher":{"model":"m","temperature":0.0,"use":"openai"},"tools":[{"name":"f"}]}'
    )
    assert key() == f"v1:{hashlib.sha256(text.encode()).hexdigest()}"


@settings(deadline=None)
@given(st.dictionaries(words, st.integers() | words, min_size=2))
def test_the_order_of_keys_does_not_matter(value):
    assert digest(dict(reversed(value.items()))) == digest(value)


def test_two_spellings_of_one_letter_are_one_text():
    assert canonical("e\u0301te\u0301") == canonical("\u00e9t\u00e9")


def test_a_number_that_is_not_json_never_gets_a_key():
    with pytest.raises(DataError, match=r"p\.jsonl:3: .*plain JSON"):
        key(dataclasses.replace(BASE, schema={"minimum": math.nan}, where="p.jsonl:3"))


def test_a_schema_has_one_digest_whoever_holds_it():
    one, other = {"type": "object", "a": [1]}, {"a": [1], "type": "object"}
    assert schema_digest(one) == schema_digest(one) == schema_digest(other) == digest(one)
    assert schema_digest({"type": "array"}) != schema_digest(one)


def test_the_text_of_a_prompt_is_its_last_user_message():
    messages = (USER, {"role": "assistant", "content": "Fait."}, {"role": "user", "content": "Merci."})
    assert Prompt(id="a", messages=messages).text == "Merci."
    assert Prompt(id="a", messages=()).text == ""


def test_an_answer_is_a_whole_assistant_message():
    calls = ({"type": "function", "function": {"name": "f", "arguments": "{}"}},)
    answer = Answer("oui", reasoning="hum", tool_calls=calls)
    assert answer.message == {"role": "assistant", "content": "oui", "tool_calls": list(calls), "reasoning": "hum"}
    assert Answer("oui").message == {"role": "assistant", "content": "oui"}
    assert Example(prompt=BASE, answer=Answer("oui")).messages == (USER, {"role": "assistant", "content": "oui"})


def test_records_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BASE.id = "b"
    assert with_split(BASE, "test").split == "test"
    assert BASE.split is None


def test_a_row_at_another_place_is_the_same_row():
    assert dataclasses.replace(BASE, where="other.jsonl:9") == BASE


def test_a_reference_without_text_is_empty():
    assert Reference(message={"role": "assistant", "content": None}).content == ""


def test_a_reference_carries_its_tool_calls():
    call = {"function": {"name": "light", "arguments": "{}"}}
    assert Reference(message={"content": None, "tool_calls": [call]}).tool_calls == (call,)
    assert Reference(message={"content": "x", "tool_calls": None}).tool_calls == ()
