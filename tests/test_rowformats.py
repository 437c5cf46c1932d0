"""Every format that people arrive with becomes a native row, and nothing of a row is lost on the way."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm import DataError
from pillm.rowformats import to_native
from pillm.rows import prompt_from_row

TURNS = [
    {"role": "system", "content": "Sois bref."},
    {"role": "user", "content": "Salut"},
    {"role": "assistant", "content": "Allô"},
]
SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    "row",
    [
        {"system_hint": "Sois bref.", "user": "Salut", "assistant": "Allô"},
        {"system": "Sois bref.", "instruction": "Salut", "input": "", "output": "Allô"},
        {"system": "Sois bref.", "conversations": [{"from": "human", "value": "Salut"}, {"from": "gpt", "value": "Allô"}]},
        {"conversations": [{"from": turn["role"], "value": turn["content"]} for turn in TURNS]},
        {"prompt": TURNS[:2], "completion": TURNS[2:]},
        {"prompt": TURNS[:2], "completion": "Allô"},
        {"messages": TURNS},
    ],
)  # fmt: skip
def test_every_format_says_the_same(row):
    assert to_native({**row, "id": "7", "mood": "good"}) == {
        **{"messages": TURNS, "id": "7", "mood": "good"},
        **({"schema": None} if "system_hint" in row else {}),
    }
    prompt = prompt_from_row({**row, "id": "7", "mood": "good"})
    assert [*prompt.messages, prompt.given] == TURNS
    assert prompt.metadata == {"mood": "good"}


def test_a_prompt_and_its_completion_need_no_lists():
    assert to_native({"prompt": "Salut", "completion": "Allô"})["messages"] == TURNS[1:]
    assert to_native({"prompt": "Salut", "completion": TURNS[2:]})["messages"] == TURNS[1:]


def test_an_instruction_and_its_input_are_one_question():
    row = {"instruction": "Traduis.", "input": "Good night", "output": "Bonne nuit"}
    assert to_native(row)["messages"][0]["content"] == "Traduis.\n\nGood night"


def test_the_history_of_an_instruction_comes_before_it():
    row = {"system": "Sois bref.", "instruction": "Heure ?", "output": "midi", "history": [["Salut", "Allô"]]}
    asked, said = {"role": "user", "content": "Heure ?"}, {"role": "assistant", "content": "midi"}
    assert to_native(row) == {"messages": [*TURNS, asked, said]}


@pytest.mark.parametrize(
    ("flat", "schema"),
    [
        ({"requires_json": True}, {}),
        ({"requires_json": True, "tool_schema": SCHEMA}, SCHEMA),
        ({"requires_json": False, "tool_schema": '{"type": "object"}'}, SCHEMA),
        ({"tool_schema": "calendar"}, "calendar"),
        ({"tool_schema": ""}, None),
        ({"requires_json": True, "tool_schema": " "}, {}),
        ({"requires_json": None}, None),
        ({}, None),
    ],
)
def test_the_flat_form_says_whether_json_is_wanted(flat, schema):
    assert to_native({"user": "Salut", **flat})["schema"] == schema


def test_a_native_schema_wins_and_the_flat_one_survives_beside_it():
    prompt = prompt_from_row({"user": "Salut", "schema": SCHEMA, "tool_schema": {"type": "array"}})
    assert prompt.schema == SCHEMA
    assert prompt.metadata == {"tool_schema": {"type": "array"}}


def test_free_keys_of_a_flat_row_do_not_make_it_another_format():
    prompt = prompt_from_row({"user": "Salut", "requires_json": False, "instruction": "note", "prompt": "p-12"})
    assert prompt.text == "Salut"
    assert prompt.metadata == {"instruction": "note", "prompt": "p-12"}


def test_an_answer_that_is_json_becomes_its_text():
    row = to_native({"user": "Salut", "requires_json": True, "assistant": {"lieu": "Trois-Rivières"}})
    assert row["messages"][-1]["content"] == '{"lieu": "Trois-Rivières"}'


@pytest.mark.parametrize("empty", ["", "  ", None])
def test_an_empty_answer_is_no_answer(empty):
    assert to_native({"user": "Salut", "assistant": empty})["messages"] == TURNS[1:2]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({}, "'user' is missing or empty"),
        ({"user": " "}, "'user' is missing or empty"),
        ({"user": 3}, "'user' is missing or empty"),
        ({"instruction": ""}, "'instruction' is missing or empty"),
        ({"instruction": "a", "input": 3}, "'input' must be text"),
        ({"prompt": ""}, "'prompt' must be text"),
        ({"prompt": "a", "completion": 3}, "the assistant text must be text, not 3"),
        ({"user": "a", "system_hint": 3}, "the system text must be text, not 3"),
        ({"user": "a", "requires_json": "false"}, "'requires_json' must be true or false, not 'false'"),
        ({"user": "a", "tool_schema": "{"}, "'tool_schema' is not JSON"),
        ({"conversations": {}}, "'conversations' must be a list"),
        ({"conversations": [{"from": "narrator", "value": "a"}]}, "needs 'from' out of human"),
        ({"conversations": ["a"]}, "needs 'from'"),
        ({"instruction": "a", "history": ["b"]}, "'history' must be a list of .question, answer. pairs"),
    ],
)
def test_a_row_that_is_no_row_is_told_what_it_lacks(row, sentence):
    with pytest.raises(DataError, match=sentence):
        to_native(row)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), inner),
    max_leaves=6,
)
names = st.sampled_from([
    "messages", "conversations", "instruction", "input", "output", "prompt", "completion", "user", "system_hint",
    "requires_json", "tool_schema", "assistant", "id", "schema", "tools", "reference", "tags", "metadata", "provenance",
    "chosen", "rejected", "history", "preferred_output", "non_preferred_output",
])  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(names, anything, max_size=6))
def test_any_row_becomes_a_prompt_or_a_sentence(row):
    with suppress(DataError):
        assert any(message["role"] == "user" for message in prompt_from_row(row).messages)
