"""Teacher and student are told the same, and what they are told has a hash."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm import Answer, Contract, Example, Prompt, template_message

USER = {"role": "user", "content": "Allume."}
SYSTEM = {"role": "system", "content": "Sois bref."}
SCHEMA = {"type": "object", "properties": {"pièce": {"type": "string"}}}


def test_a_plain_contract_changes_nothing():
    prompt = Prompt(id="a", messages=(SYSTEM, USER), schema=SCHEMA)
    assert Contract().messages(prompt) == (SYSTEM, USER)


def test_a_system_message_goes_before_rows_that_have_none():
    contract = Contract(system="Réponds en français.")
    assert contract.messages(Prompt(id="a", messages=(USER,)))[0] == {"role": "system", "content": "Réponds en français."}
    assert contract.messages(Prompt(id="a", messages=(SYSTEM, USER))) == (SYSTEM, USER)


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("system", [None, "Réponds en français."])
def test_the_schema_is_told_once_after_the_rows_own_words(role, system):
    own = {"role": role, "content": "Sois bref."}
    told = Contract(schema_in_prompt="text", system=system).messages(Prompt(id="a", messages=(own, USER), schema=SCHEMA))
    assert len(told) == 2
    assert told[0]["role"] == role
    assert told[0]["content"].startswith("Sois bref.\n\nAnswer with one JSON value")
    assert "français" not in told[0]["content"]
    assert '"pièce"' in told[0]["content"]


def test_the_schema_alone_becomes_the_system_message_and_rows_without_one_are_not_told():
    contract = Contract(schema_in_prompt="text")
    assert contract.messages(Prompt(id="a", messages=(USER,), schema=SCHEMA))[0]["role"] == "system"
    assert contract.messages(Prompt(id="a", messages=(USER,))) == (USER,)
    assert contract.messages(Prompt(id="a", messages=(USER,), schema={}))[0]["content"].endswith("{}")


def test_the_rows_own_messages_are_never_changed():
    own = dict(SYSTEM)
    Contract(schema_in_prompt="text").messages(Prompt(id="a", messages=(own, USER), schema=SCHEMA))
    assert own == SYSTEM


def test_the_request_is_keyed_by_the_messages_as_sent():
    prompt = Prompt(id="a", messages=(USER,), schema=SCHEMA)
    plain, told = Contract().request(prompt, {"use": "t"}), Contract(schema_in_prompt="text").request(prompt, {"use": "t"})
    assert plain.key != told.key
    assert told.messages == Contract(schema_in_prompt="text").messages(prompt)
    assert Contract().request(prompt, {"use": "t"}, 1).sample == 1


def test_a_conversation_ends_with_the_answer():
    example = Example(prompt=Prompt(id="a", messages=(USER,)), answer=Answer("Fait."))
    assert Contract(system="Bref.").conversation(example) == (
        {"role": "system", "content": "Bref."}, USER, {"role": "assistant", "content": "Fait."},
    )  # fmt: skip


contracts = st.builds(
    Contract,
    schema_in_prompt=st.sampled_from(["none", "text"]),
    system=st.none() | st.text(),
    template=st.none() | st.text(),
    special_tokens=st.dictionaries(st.text(), st.integers(), max_size=3),
    stop_tokens=st.lists(st.text(), max_size=2).map(tuple),
)


@settings(deadline=None)
@given(contracts)
def test_a_contract_survives_its_json_and_keeps_its_hash(contract):
    again = Contract.from_json(json.loads(json.dumps(contract.to_json())))
    assert again == contract
    assert again.hash == contract.hash == contract.to_json()["hash"]


@settings(deadline=None)
@given(contracts, contracts)
def test_two_contracts_have_one_hash_only_when_they_are_the_same(one, other):
    import unicodedata

    def normal(contract):
        return unicodedata.normalize("NFC", json.dumps({**contract.to_json(), "hash": ""}, sort_keys=True, ensure_ascii=False))

    assert (one.hash == other.hash) == (normal(one) == normal(other))


def test_a_contract_is_completed_by_the_student_and_saved(tmp_path):
    contract = Contract().with_student(template="{{ messages }}", special_tokens={"<eos>": 2}, stop_tokens=("<eos>",))
    contract.save(tmp_path / "contract.json")
    assert Contract.from_json(json.loads((tmp_path / "contract.json").read_text("utf-8"))) == contract
    assert contract.hash != Contract().hash


def test_nothing_written_is_the_plain_contract():
    assert Contract.from_json({}) == Contract()


def test_templates_get_tool_arguments_as_objects_and_nothing_absent() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert template_message(message) == {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
    }
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}  # what came in stays as it was


def test_tool_arguments_that_are_no_json_are_printed_as_they_were_written() -> None:
    message = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{a"}}]}
    assert template_message(message) == message
