from __future__ import annotations

from typing import Any

import pytest
from pillm_llamacpp.converting.pretokenizer import derive
from pillm_llamacpp_tiny import train_tokenizer

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
    import json

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
