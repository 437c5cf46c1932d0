"""What makes an answer unfit to train on, and what is known of a row before anybody is asked."""

from __future__ import annotations

import pytest

from pillm.records import Answer, Prompt
from pillm.stages.rowstates import refusal_reason


def asked(schema: dict[str, object] | None) -> Prompt:
    return Prompt(id="a", messages=({"role": "user", "content": "hi"},), schema=schema)


def test_free_text_is_fit() -> None:
    assert refusal_reason(asked(None), Answer("hello")) == ""


def test_a_tool_call_without_text_is_fit() -> None:
    assert refusal_reason(asked(None), Answer("", tool_calls=({"function": {"name": "x"}},))) == ""


def test_the_path_of_the_first_offence_is_said() -> None:
    schema = {"properties": {"a": {"properties": {"b": {"type": "integer"}}}}}
    assert "$.a.b" in refusal_reason(asked(schema), Answer('{"a": {"b": "x"}}'))


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "http://example.invalid/x.json"}, {"$ref": "#"}])
def test_judging_never_raises_because_the_answer_is_paid_for(schema: dict[str, object]) -> None:
    assert refusal_reason(asked(schema), Answer("{}")).startswith("the answer cannot be judged: ")
