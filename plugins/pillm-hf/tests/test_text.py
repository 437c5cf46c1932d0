"""Labels: what is learnt is the answer and its end-of-turn token, whatever the template looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded, encode, prompts_of

import pillm

PLAIN = pillm.Contract()
RETOLD = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + (' (earlier)' if not loop.last and message['role'] == 'user' else '') + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
MARKS{{- message['content'] + '<|im_end|>' -}}ENDS
{%- else -%}{{- message['content'] + '<|im_end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
BARE = (
    "{%- for message in messages -%}{{- message['role'] + ': ' + message['content'] + '\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"
)


def learnt(chat: Chat, row: Encoded) -> str:
    return chat.tokenizer.decode(row.ids[row.start : row.end], skip_special_tokens=False)


@pytest.fixture(scope="session")
def marked_chat(base: Path) -> Chat:
    return load_chat(base)


@pytest.fixture(scope="session")
def unmarked_chat(qwen: Path) -> Chat:
    return load_chat(qwen)


@pytest.mark.parametrize("name", ["marked_chat", "unmarked_chat"])
def test_only_the_answer_and_its_end_of_turn_are_learnt(
    request: pytest.FixtureRequest, name: str, rows: Callable[..., pillm.Rows], pairs: list[Any]
) -> None:
    chat = request.getfixturevalue(name)
    encoding = encode(rows(pairs), PLAIN, chat, 256)
    assert [learnt(chat, row) for row in encoding.rows] == [answer + "<|im_end|>" for _, answer in pairs]
    assert not encoding.left_out
    assert encoding.answer_tokens == sum(row.end - row.start for row in encoding.rows)


def test_of_several_turns_only_the_last_answer_is_learnt(marked_chat: Chat, rows: Callable[..., pillm.Rows]) -> None:
    turns = [("user", "un"), ("assistant", "deux"), ("user", "trois"), ("assistant", "quatre")]
    talk = {"id": "talk", "messages": [{"role": role, "content": text} for role, text in turns]}
    (row,) = encode(rows([talk]), PLAIN, marked_chat, 256).rows
    assert learnt(marked_chat, row) == "quatre<|im_end|>"
    assert "deux" in row.text


def test_what_precedes_the_answer_is_what_the_student_is_asked_with(marked_chat: Chat, rows: Callable[..., pillm.Rows]) -> None:
    (row,) = encode(rows([("vert", "rouge")]), PLAIN, marked_chat, 256).rows
    prompt = pillm.Prompt(id="r0", messages=({"role": "user", "content": "vert"},))
    (asked,) = prompts_of([prompt], PLAIN, marked_chat, pytest.fail)
    assert row.ids[: row.start] == asked.ids
    assert marked_chat.encode([row.text]) == [row.ids]


def test_rows_that_are_too_long_are_left_out_and_counted(marked_chat: Chat, rows: Callable[..., pillm.Rows]) -> None:
    encoding = encode(rows([("vert", "rouge"), ("vert", "rouge " * 99)]), PLAIN, marked_chat, 64)
    assert [row.id for row in encoding.rows] == ["r0"]
    assert dict(encoding.left_out) == {"longer than max_length=64 tokens": 1}


def test_an_answer_that_would_end_its_own_turn_is_left_out(marked_chat: Chat, rows: Callable[..., pillm.Rows]) -> None:
    encoding = encode(rows([("vert", "rouge<|im_end|>bleu"), ("vert", "rouge")]), PLAIN, marked_chat, 64)
    assert [row.id for row in encoding.rows] == ["r1"]
    assert dict(encoding.left_out) == {"the answer contains <|im_end|>": 1}


def test_an_answer_without_text_is_an_error_that_names_the_row(marked_chat: Chat) -> None:
    prompt = pillm.Prompt(id="x", messages=({"role": "user", "content": "vert"},), where="rows.jsonl:2")
    with pytest.raises(pillm.DataError, match=r"rows\.jsonl:2: the answer is empty"):
        encode([pillm.Example(prompt=prompt, answer=pillm.Answer("  "))], PLAIN, marked_chat, 64)


def test_a_row_without_assistant_turn_is_an_error_that_names_the_row(
    marked_chat: Chat, rows: Callable[..., pillm.Rows]
) -> None:
    unanswered = {"id": "x", "messages": [{"role": "user", "content": "vert"}]}
    with pytest.raises(pillm.DataError, match=r"rows-0\.jsonl:1: the row has no assistant message"):
        encode(rows([unanswered]), PLAIN, marked_chat, 64)


def test_a_template_that_retells_the_prompt_needs_marks(make, tmp_path: Path, rows: Callable[..., pillm.Rows]) -> None:
    data = rows([("vert", "rouge")])
    without = load_chat(make(tmp_path / "without", template=RETOLD.replace("MARKS", "").replace("ENDS", "")))
    with pytest.raises(pillm.DataError, match="generation"):
        encode(data, PLAIN, without, 64)
    marks = RETOLD.replace("MARKS", "{%- generation -%}").replace("ENDS", "{%- endgeneration -%}")
    chat = load_chat(make(tmp_path / "with", template=marks))
    (row,) = encode(data, PLAIN, chat, 64).rows
    assert learnt(chat, row) == "rouge<|im_end|>"


def test_a_template_without_end_of_turn_gets_the_tokenizers_end(make, tmp_path: Path, rows: Callable[..., pillm.Rows]) -> None:
    chat = load_chat(make(tmp_path / "bare", template=BARE))
    assert not chat.end_of_turn.written
    (row,) = encode(rows([("vert", "rouge")]), PLAIN, chat, 64).rows
    assert learnt(chat, row) == "rouge\n<|im_end|>"


def test_tool_calls_are_rendered_with_their_arguments_as_objects(make, tmp_path: Path) -> None:
    template = (
        "{%- for message in messages -%}{%- for call in message.tool_calls or [] -%}"
        "{{- call.function.arguments | tojson -}}<|im_end|>{%- endfor -%}{%- endfor -%}"
    )
    chat = load_chat(make(tmp_path / "tools", template=template))
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    assert chat.conversation(messages).startswith('{"a": 1}')


CALLS = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') -}}
{%- for call in message.tool_calls or [] -%}CALL{%- endfor -%}
{{- '<|im_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


@pytest.mark.parametrize(
    ("call", "kept"),
    [
        ("", False),
        ("{{- call.function.name -}}", False),
        ("{{- call.function.name + ' ' + (call.function.arguments | tojson) -}}", True),
        (
            "{{- call.function.name -}}{%- for n, v in call.function.arguments.items() -%}{{- n ~ '=' ~ v -}}{%- endfor -%}",
            True,
        ),
    ],
)
@pytest.mark.parametrize("content", ["", "rouge"])
def test_a_row_whose_tool_calls_the_template_does_not_write_is_left_out(
    make, tmp_path: Path, call: str, kept: bool, content: str
) -> None:
    chat = load_chat(make(tmp_path / "tools", template=CALLS.replace("CALL", call)))
    arguments = '{"mot": "gâteau \\"x\\"", "nombre": [4, 0.5], "oui": true, "rien": null}'
    if "items" in call:
        arguments = '{"mot": "gâteau", "nombre": [4, 0.5], "oui": true, "rien": null}'
    answer = pillm.Answer(content, tool_calls=({"type": "function", "function": {"name": "f_neige", "arguments": arguments}},))
    prompt = pillm.Prompt(id="x", messages=({"role": "user", "content": "vert"},))
    encoding = encode([pillm.Example(prompt=prompt, answer=answer)], PLAIN, chat, 256)
    assert len(encoding.rows) == kept
    assert dict(encoding.left_out) == ({} if kept else {"the template does not write the answer's tool calls": 1})


def test_probes_that_the_template_refuses_are_counted_and_told(make, tmp_path: Path) -> None:
    strict = "{%- if messages[0]['content'] == 'lac' -%}{{ raise_exception('no') }}{%- endif -%}"
    chat = load_chat(make(tmp_path / "strict", template=strict + "{{- messages[0]['content'] + '<|im_end|>' -}}"))
    prompts = [pillm.Prompt(id=word, messages=({"role": "user", "content": word},)) for word in ("lac", "vert", "lac")]
    told: list[str] = []
    assert [row.id for row in prompts_of(prompts, PLAIN, chat, told.append)] == ["vert"]
    assert len(told) == 1
    assert told[0].startswith("2 prompts left out of the probes")
