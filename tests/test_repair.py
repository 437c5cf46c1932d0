"""What a teacher is told about an answer that can be mended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillm.records import Answer, Message, Prompt
from pillm.repair import repair_messages, repairable
from pillm.validation import validate

SENT: tuple[Message, ...] = ({"role": "system", "content": "JSON only"}, {"role": "user", "content": "Lampe ?"})
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def repair(content: str, language: str | None = None, **answer: Any) -> tuple[Message, ...]:
    prompt = Prompt(id="a", messages=SENT, schema=SCHEMA)
    bad = Answer(content, **answer)
    return repair_messages(SENT, bad, validate(prompt, bad), language)


def test_the_error_is_shown_with_its_path_and_only_json_is_asked_for() -> None:
    *sent, said, asked = repair('{"n": "x"}')
    assert tuple(sent) == SENT
    assert said == {"role": "assistant", "content": '{"n": "x"}'}
    assert asked["role"] == "user"
    assert asked["content"] == (
        "Your answer does not satisfy the JSON Schema. At $.n: 'x' is not of type 'integer'.\n"
        "Answer with the corrected JSON only, complete, without any other text."
    )


@pytest.mark.parametrize("language", ["fr", "fr-CA", "FR"])
def test_a_french_row_is_repaired_in_french(language: str) -> None:
    assert repair('{"n": "x"}', language)[-1]["content"].startswith("Ta réponse ne respecte pas le schéma JSON. À $.n : 'x'")
    assert repair("n vaut 1", language)[-1]["content"].startswith("Ta réponse n'est pas du JSON valide : ")


def test_text_that_is_no_json_is_repaired_too() -> None:
    assert repair('{"n": 1')[-1]["content"].startswith("Your answer is not valid JSON: Expecting ',' delimiter")


def test_neither_a_runaway_answer_nor_its_reasoning_is_repeated() -> None:
    said = repair('{"n": ' + "1" * 10**6, reasoning="hm")[-2]
    assert len(said["content"]) < 9000
    assert set(said) == {"role", "content"}


@pytest.mark.parametrize(
    ("content", "worth"), [("no", True), ("{}", True), ('{"n": 1}', False), ("", False), ("I can't help with that.", False)]
)
def test_only_what_a_second_look_mends_is_worth_a_call(content: str, worth: bool) -> None:
    assert repairable(validate(Prompt(id="a", messages=SENT, schema=SCHEMA), Answer(content))) == worth


@given(st.text())
def test_any_answer_can_be_shown(content: str) -> None:
    *sent, said, asked = repair(content)
    assert tuple(sent) == SENT
    assert (said["role"], asked["role"]) == ("assistant", "user")
