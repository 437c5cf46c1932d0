from __future__ import annotations

import pytest

import pillm

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
DEEP = "[" * 10**5 + "]" * 10**5


def test_thinking_and_tool_calls_are_read_out_of_the_text() -> None:
    content, reasoning, calls = pillm.read_reply(f"<think>\nhm\n</think>\n\nSure.\n{CALL}", tools=True)
    assert (content, reasoning) == ("Sure.", "hm")
    assert calls == ({"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},)


def test_a_thought_that_the_template_opened_is_reasoning_too() -> None:
    assert pillm.read_reply("hm\n</think>\n\nYes.", tools=False) == ("Yes.", "hm", ())


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>{no}</tool_call>",
        '<tool_call>{"arguments": {}}</tool_call>',
        f"{CALL}<tool_call>{{no}}</tool_call>",
        '<tool_call>{"name": "f", "arguments": {"half of a pair": "\\ud83d"}}</tool_call>',
        pytest.param(f'<tool_call>{{"name": "f", "arguments": {{"deep": {DEEP}}}}}</tool_call>', id="deep"),
        '{"a": 1}',
        "",
    ],
)
def test_a_text_without_a_sound_call_stays_as_it_is(text: str) -> None:
    assert pillm.read_reply(text, tools=True) == (text, None, ())


def test_without_tools_a_call_is_only_text() -> None:
    assert pillm.read_reply(CALL, tools=False) == (CALL, None, ())
