from __future__ import annotations

from functools import partial

import jinja2
import pytest
from pillm_llamacpp.inference.chat import ChatTemplate
from pillm_llamacpp_tiny import TEMPLATE, render

import pillm
from pillm.testing.hostiletemplates import PATIENT

TURNS = [{"role": "user", "content": "é <b>"}, {"role": "assistant", "content": "ok"}]


def test_a_generation_block_renders_as_its_content() -> None:
    assert ChatTemplate(TEMPLATE, {}).render(TURNS, ask=False) == render(TURNS)


def test_the_header_of_the_answer_is_added_when_asked() -> None:
    assert ChatTemplate(TEMPLATE, {}).render(TURNS[:1]).endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_json_keeps_accents_and_angle_brackets() -> None:
    assert ChatTemplate("{{ messages | tojson }}", {}).render([TURNS[0]]) == '[{"role": "user", "content": "é <b>"}]'


def test_special_tokens_and_tools_are_there() -> None:
    template = ChatTemplate("{{ bos_token }}{{ tools[0].name }}{{ unk_token }}", {"bos_token": "<s>"})
    assert template.render(TURNS, tools=[{"name": "light"}]) == "<s>light"


def test_a_template_may_refuse() -> None:
    with pytest.raises(jinja2.TemplateError, match="roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}", {}).render(TURNS)


@pytest.mark.parametrize("attack", ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ messages[0].update(a=1) }}"])
def test_a_template_cannot_leave_its_sandbox(attack: str) -> None:
    with pytest.raises(jinja2.exceptions.SecurityError):
        ChatTemplate(attack, {}).render(TURNS)


def test_the_arguments_of_tool_calls_are_objects_and_absent_values_are_left_out() -> None:
    template = ChatTemplate("{{ messages[0].tool_calls[0].function.arguments.room }}{{ 'content' in messages[0] }}", {})
    call = {"type": "function", "function": {"name": "light", "arguments": '{"room": "kitchen"}'}}
    assert template.render([{"role": "assistant", "content": None, "tool_calls": [call]}]) == "kitchenFalse"


def test_reasoning_has_every_name_that_templates_use() -> None:
    template = ChatTemplate("{{ messages[0].reasoning_content }}{{ messages[0].thinking }}", {})
    assert template.render([{"role": "assistant", "content": "", "reasoning": "a"}]) == "aa"


def test_a_template_that_waited_for_its_word_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    template = ChatTemplate(PATIENT, {})
    monkeypatch.setattr(pillm, "limited_rendering", partial(pillm.limited_rendering, 0.2))
    with pytest.raises(jinja2.TemplateError, match="takes too long over these messages"):
        template.render([{"role": "user", "content": "abracadabra"}])


def test_a_template_that_takes_all_the_memory_is_stopped() -> None:
    with pytest.raises(jinja2.TemplateError, match="more than 256 MiB"):
        ChatTemplate("{{ messages[0].content * 900000000 }}", {}).render(TURNS)
