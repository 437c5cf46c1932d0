"""The tokenizer: the ids trained on, the ids after reload, and the answer's own mask."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from corpus import Encoder, answer_of, generator, text_of
from peft import LoraConfig, get_peft_model
from scoring import load
from tokenizer import END, load_tokenizer
from tokenizers import Tokenizer, pre_tokenizers

ODD = [
    "11h45", "à 11h45, ça va?", "  deux  espaces ", "l'été, j'm'en vas", "œuf 😀 naïf", "\n\n a\tb", "2026-11-20",
    "AUJOURD'HUI", "", "🏠", "don't", "d'même", '{"name":"x"}', "日本語", "\u00a0?", "100 %",
]  # fmt: skip


@pytest.fixture(scope="module")
def strings() -> list[str]:
    rows = list(islice(generator().stream(3, split="all"), 1000))
    return ODD + [text for row in rows for text in (text_of(row), answer_of(row))]


def test_a_reload_gives_the_ids_trained_on(folder: Path, strings: list[str]) -> None:
    trained, loaded = Tokenizer.from_file(str(folder / "tokenizer.json")), load_tokenizer(folder)
    for text in strings:
        assert loaded(text).input_ids == trained.encode(text).ids
        assert loaded.decode(loaded(text).input_ids) == text


# peft asks transformers by a name that transformers has since changed.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_merged_and_saved_student_keeps_the_ids(folder: Path, strings: list[str], tmp_path: Path) -> None:
    model, tokenizer = load(folder)
    student = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    student.merge_and_unload().to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    for text in strings:
        assert again(text).input_ids == tokenizer(text).input_ids
    assert again.chat_template == tokenizer.chat_template


def test_every_byte_has_a_token_and_no_text_has_two(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    vocabulary = tokenizer.get_vocab()
    assert set(pre_tokenizers.ByteLevel.alphabet()) <= set(vocabulary)
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert len(vocabulary) % 64 == 0
    assert tokenizer.bos_token is None
    assert tokenizer.eos_token == END


def test_a_word_has_the_same_ids_after_a_space_and_after_a_quote(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    state = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    assert not [merge for merge in state["model"]["merges"] if "Ġ" in "".join(merge)]
    assert tokenizer(" cuisine").input_ids[1:] == tokenizer("cuisine").input_ids


def test_the_generation_mask_holds_exactly_the_answer(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    for row in islice(generator().stream(4, split="train"), 50):
        messages = [*row["messages"], {"role": "assistant", "content": answer_of(row)}]
        made = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        masked = [i for i, kept in zip(made["input_ids"], made["assistant_masks"], strict=True) if kept]
        assert tokenizer.decode(masked) == answer_of(row) + END
        ids, answer = Encoder(tokenizer)(row["messages"], answer_of(row))
        assert ids == made["input_ids"][: len(ids)]
        assert ids[answer:] == masked


def test_the_template_speaks_for_every_role(folder: Path) -> None:
    messages = [{"role": role, "content": role.upper()} for role in ("system", "user", "assistant", "tool")]
    text = load_tokenizer(folder).apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages]
    assert text == "".join(turns) + "<|im_start|>assistant\n"
