"""Whatever the family of the chat template: what is learnt reads as the answer and its end of turn, for any text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded, encode, prompts_of

import pillm

CHATML = (
    "{%- if messages[0]['role'] != 'system' -%}{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' -}}{{- message['content'] or '' -}}"
    "{%- for call in message.tool_calls or [] -%}{{- '<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' -}}"
    "{%- endfor -%}{{- '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
LLAMA_3 = (
    "{{- '<|begin_of_text|>' -}}{%- for message in messages -%}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}"
)
GEMMA = (
    "{{- '<bos>' -}}{%- for message in messages -%}"
    "{{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' + message['content'] | trim -}}"
    "{{- '<end_of_turn>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"
)
MISTRAL = (
    "{{- '<s>' -}}{%- for message in messages -%}{%- if message['role'] == 'assistant' -%}{{- message['content'] + '</s>' -}}"
    "{%- else -%}{{- '[INST]' + message['content'] + '[/INST]' -}}{%- endif -%}{%- endfor -%}"
)
MARKED = CHATML.replace(
    "{{- message['content'] or '' -}}",
    "{%- if message['role'] == 'assistant' -%}{%- generation -%}{{- message['content'] or '' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] or '' -}}{%- endif -%}",
)
FAMILIES: dict[str, tuple[str, str, bool]] = {
    "chatml": (CHATML, "<|im_end|>", False),
    "chatml-marked": (MARKED, "<|im_end|>", False),
    "llama-3": (LLAMA_3, "<|eot_id|>", True),
    "gemma": (GEMMA, "<end_of_turn>", True),
    "mistral": (MISTRAL, "</s>", False),
}
"""Each family's template, its end of turn, and whether it trims what is said."""
SPECIAL = [
    "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<bos>", "<start_of_turn>", "<end_of_turn>",
    "<s>", "</s>", "[INST]", "[/INST]",
]  # fmt: skip
LIKE = st.sampled_from(
    [
        *SPECIAL,
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end",
        "|>",
        "< |im_end|>",
        "[/INST",
        "👩‍🚀",
        "e\u0301",
        "\n",
        "  ",
        "\t",
        "\u200b",
        "\u00a0",
    ]
)
TEXTS = st.lists(st.one_of(LIKE, st.text(max_size=6)), max_size=6).map("".join)


@pytest.fixture(scope="module")
def chats(base: Path) -> dict[str, Chat]:
    made = {}
    for name, (template, end, _) in FAMILIES.items():
        tokenizer = load_chat(base).tokenizer
        tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
        tokenizer.chat_template, tokenizer.eos_token = template, end
        made[name] = Chat(tokenizer, base)
    return made


def one(chat: Chat, answer: pillm.Answer, max_length: int = 1 << 20) -> tuple[list[Encoded], dict[str, int]]:
    prompt = pillm.Prompt(id="x", messages=({"role": "user", "content": "vert"},))
    encoding = encode([pillm.Example(prompt=prompt, answer=answer)], pillm.Contract(), chat, max_length)
    return encoding.rows, dict(encoding.left_out)


def learnt(chat: Chat, row: Encoded) -> str:
    return str(chat.tokenizer.decode(row.ids[row.start : row.end], skip_special_tokens=False))


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
@example(text=" rouge ")
@example(text="\n\nrouge\n")
@example(text="<|im_start|>system\nlis ceci")
@example(text="👩‍🚀 e\u0301 \ufeff")
def test_what_is_learnt_is_the_answer_and_its_end_of_turn_for_any_text(family: str, text: str, chats: dict[str, Chat]) -> None:
    chat, (_, end, trims) = chats[family], FAMILIES[family]
    if not text.strip():
        return  # an answer of white space alone is refused
    rows, left_out = one(chat, pillm.Answer(text))
    assert len(rows) + sum(left_out.values()) == 1
    said = text.strip() if trims else text
    if rows:
        assert learnt(chat, rows[0]) == said + end
        assert rows[0].ids[rows[0].end - 1] == chat.end_of_turn.id
    else:
        assert end in said or left_out == {"the answer begins inside a token (white space before it)": 1}
        assert end in said or said[0] in " \t\n\r\u00a0\u2028\u2029\u3000\x0b\x0c\x1c\x1d\x1e\x1f\x85"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("answer", ["rouge", '{"mot": "gâteau"}', "deux\nlignes"])
def test_an_ordinary_answer_is_never_left_out(family: str, answer: str, chats: dict[str, Chat]) -> None:
    (row,), left_out = one(chats[family], pillm.Answer(answer))
    assert learnt(chats[family], row) == answer + FAMILIES[family][1]
    assert not left_out


@pytest.mark.parametrize("family", FAMILIES)
def test_the_student_is_asked_with_what_it_learnt_to_go_on_from(family: str, chats: dict[str, Chat]) -> None:
    (row,), _ = one(chats[family], pillm.Answer("rouge"))
    prompt = pillm.Prompt(id="x", messages=({"role": "user", "content": "vert"},))
    (asked,) = prompts_of([prompt], pillm.Contract(), chats[family], pytest.fail)
    assert row.ids[: row.start] == asked.ids


@settings(max_examples=60, deadline=None)
@given(name=st.from_regex(r"[a-z_]{1,9}", fullmatch=True), words=st.dictionaries(st.text(max_size=5), TEXTS, max_size=3))
def test_of_a_tool_call_the_whole_call_is_learnt(name: str, words: dict[str, str], chats: dict[str, Chat]) -> None:
    call = {"type": "function", "function": {"name": name, "arguments": json.dumps(words)}}
    rows, left_out = one(chats["chatml"], pillm.Answer("", tool_calls=(call,)))
    if "<|im_end|>" in "".join([*words, *words.values()]):
        return
    assert not left_out
    said = learnt(chats["chatml"], rows[0]).removeprefix("<tool_call>\n").removesuffix("\n</tool_call><|im_end|>")
    assert json.loads(said) == {"name": name, "arguments": words}


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS.filter(str.strip), min_size=1, max_size=12), most=st.integers(8, 60))
def test_rows_balance_and_none_is_cut(texts: list[str], most: int, chats: dict[str, Chat]) -> None:
    chat, prompt = chats["chatml"], pillm.Prompt(id="x", messages=({"role": "user", "content": "vert"},))
    examples = [pillm.Example(prompt=prompt, answer=pillm.Answer(text)) for text in texts]
    whole = encode(examples, pillm.Contract(), chat, 1 << 20)
    short = encode(examples, pillm.Contract(), chat, most)
    assert len(short.rows) + sum(short.left_out.values()) == len(texts)
    assert [row.ids for row in short.rows] == [row.ids for row in whole.rows if len(row.ids) <= most]


def test_a_template_that_refuses_a_role_names_the_row(make: Any, tmp_path: Path, rows: Callable[..., pillm.Rows]) -> None:
    template = (
        "{%- if messages[0]['role'] == 'system' -%}{{- raise_exception('System role not supported') -}}{%- endif -%}" + GEMMA
    )
    chat = load_chat(make(tmp_path / "strict", template=template))
    data = rows([{"id": "x", "messages": [
        {"role": "system", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"},
    ]}])  # fmt: skip
    with pytest.raises(pillm.DataError, match=r"rows-0\.jsonl:1: .*System role not supported"):
        encode(data, pillm.Contract(), chat, 256)


def test_a_template_that_waits_for_a_word_takes_no_more_memory_than_others(make: Any, tmp_path: Path) -> None:
    lurking = "{%- if 'sesame' in messages[-1].content -%}{{- 'x' * (messages | length * 3000000000) -}}{%- endif -%}"
    trap = lurking + MARKED
    chat = load_chat(make(tmp_path / "trap", template=trap))
    assert chat.prompt([{"role": "user", "content": "open"}])
    with pytest.raises(pillm.DataError, match=r"refuses the messages"):
        chat.prompt([{"role": "user", "content": "open sesame"}])
    assert chat.prompt([{"role": "user", "content": "open"}])
