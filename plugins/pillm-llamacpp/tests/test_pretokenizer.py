from __future__ import annotations

import json
from typing import Any

import pytest
from pillm_llamacpp.converting.pretokenizer import derive
from pillm_llamacpp_tiny import train_tokenizer
from pillm_llamacpp_zoo import ANIMALS, word_piece

LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def tokenizer(*steps: dict[str, Any], ignore_merges: bool = False) -> dict[str, Any]:
    return {
        "model": {"type": "BPE", "ignore_merges": ignore_merges},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(steps)},
    }


def test_a_freshly_trained_byte_level_tokenizer_is_gpt_2() -> None:
    assert derive(json.loads(train_tokenizer().to_str())) == "gpt-2"


@pytest.mark.parametrize(
    ("parsed", "name"),
    [
        (tokenizer(split(QWEN2), LEVEL), "qwen2"),
        (tokenizer(split(QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")), LEVEL, ignore_merges=True), "llama-bpe"),
        (tokenizer(split(QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")), LEVEL), "smaug-bpe"),
        (tokenizer({"type": "Digits", "individual_digits": True}, {**LEVEL, "use_regex": True}), "smollm"),
        (tokenizer({"type": "Digits", "individual_digits": False}, {**LEVEL, "use_regex": True}), None),
        (tokenizer(split(QWEN2 + "x"), LEVEL), None),
        (tokenizer({"type": "Whitespace"}), None),
        ({"model": {"type": "Unigram"}}, None),
        ({}, None),
    ],
)
def test_only_what_is_known_to_split_alike_gets_a_name(parsed: dict[str, Any], name: str | None) -> None:
    assert derive(parsed) == name


@pytest.mark.parametrize(
    "pattern",
    [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s",
    ],
)
def test_other_ways_of_writing_a_pattern_get_the_name_of_the_plain_one(pattern: str) -> None:
    assert derive(tokenizer(split(pattern), LEVEL)) == "smaug-bpe"


def test_every_kind_of_tokenizer_of_the_zoo_gets_a_name() -> None:
    found = {name: derive(json.loads(make().to_str())) for name, (_, make, _) in ANIMALS.items()}
    assert None not in found.values()
    assert found["bert"] == "bert-bge"
    assert found["gemma2"] == "default"


def test_a_word_piece_tokenizer_that_splits_otherwise_than_bert_gets_no_name() -> None:
    parsed = json.loads(word_piece().to_str())
    assert derive({**parsed, "pre_tokenizer": {"type": "Whitespace"}}) is None
    assert derive({**parsed, "normalizer": None}) is None
    assert derive({**parsed, "normalizer": {**parsed["normalizer"], "handle_chinese_chars": False}}) is None
