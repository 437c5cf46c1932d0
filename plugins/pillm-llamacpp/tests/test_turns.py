from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_llamacpp.inference.chat import ChatTemplate
from pillm_llamacpp.ollama.gotemplate import GoTemplate
from pillm_llamacpp.ollama.prompts import prompt_of
from pillm_llamacpp.ollama.turns import learn
from pillm_llamacpp_tiny import TEMPLATE

DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SYSTEM_IN_USER = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\\n\\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ (first if loop.first else '') + m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}{% else %}"
    "{{ raise_exception('no system messages') }}{% endif %}{% endfor %}"
)
NO_THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)
TEMPLATES = {"chatml": TEMPLATE, "default system": DEFAULT_SYSTEM, "system in user": SYSTEM_IN_USER, "headers": HEADERS,
             "brackets": BRACKETS, "no thinking": NO_THINKING}  # fmt: skip


def renderer(source: str) -> Any:
    template = ChatTemplate(source, {"bos_token": "<s>", "eos_token": "</s>"})

    def render(messages: Sequence[dict[str, Any]]) -> str | None:
        try:
            return template.render(messages)
        except jinja2.TemplateError:
            return None

    return render


def turns_of(length: int, system: str | None) -> list[dict[str, str]]:
    said = [{"role": ("user", "assistant")[at % 2], "content": f"words {at} é\n{{}} <b>"} for at in range(2 * length - 1)]
    return [*([{"role": "system", "content": system}] if system else []), *said]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize("system", [None, "Be brief."])
def test_the_go_template_says_what_the_models_own_says(name: str, length: int, system: str | None) -> None:
    render = renderer(TEMPLATES[name])
    turns = learn(render)
    assert turns
    messages = turns_of(length, system)
    expected = render(messages)
    if expected is None:  # this one takes no system message, so there is nothing to say
        assert (name, system) == ("brackets", "Be brief.")
        return
    assert prompt_of(GoTemplate(turns.go()), messages) == expected


@given(st.text(max_size=30).filter(str.strip), st.text(max_size=30).filter(str.strip))
def test_whatever_is_said_in_a_turn_is_told_as_it_stands(asked: str, system: str) -> None:
    render = renderer(DEFAULT_SYSTEM)
    turns = learn(render)
    assert turns
    messages = [{"role": "system", "content": system}, {"role": "user", "content": asked}]
    assert prompt_of(GoTemplate(turns.go()), messages) == render(messages)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages | tojson }}{{ messages[0]['content'] }}",
        "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}",
        "{{ raise_exception('never') }}",
        "nothing of what was said",
    ],
)
def test_turns_that_do_not_stand_apart_are_not_learnt(source: str) -> None:
    assert learn(renderer(source)) is None
