from __future__ import annotations

import json
from typing import Any

import pytest
from pillm_llamacpp.converting.spm import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, spaces_of, vocabulary_of
from pillm_llamacpp_zoo import byte_level, sentence_pieces, word_piece

REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}


def bpe(normalizer: Any = None, pre_tokenizer: Any = None) -> dict[str, Any]:
    return {"model": {"type": "BPE"}, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer}


@pytest.mark.parametrize(
    ("parsed", "spaces"),
    [
        *((json.loads(sentence_pieces(spaces).to_str()), spaces) for spaces in ("always", "first", "never")),
        (bpe(None, {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True}), "always"),
        (bpe(None, {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": False}), "never"),
        (bpe(REPLACE, {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious"}), "never"),
        (bpe({"type": "Sequence", "normalizers": [{"type": "NFKC"}, REPLACE]}), None),
        (bpe(REPLACE, {"type": "Digits"}), None),
        (bpe(None, {"type": "Metaspace", "replacement": "_"}), None),
        (json.loads(byte_level().to_str()), None),
        (json.loads(word_piece().to_str()), None),
        ({"model": {"type": "Unigram"}}, None),
        ({}, None),
    ],
)
def test_where_spaces_go_is_read_from_how_the_text_is_split(parsed: dict[str, Any], spaces: str | None) -> None:
    assert spaces_of(parsed) == spaces


def test_texts_scores_and_types_are_what_the_merges_say() -> None:
    parsed = {
        "model": {
            "type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "merges": [["a", "b"], "ab c", ["b", "c"]],
            "vocab": {"<unk>": 0, "<0x0A>": 1, "a": 2, "b": 3, "c": 4, "ab": 5, "abc": 6, "bc": 7},
        },
        "added_tokens": [{"id": 8, "content": "</s>", "special": True}, {"id": 9, "content": "\u2581\u2581", "special": False}],
    }  # fmt: skip
    made = vocabulary_of(parsed, 11)
    assert made.texts == [b"<unk>", b"<0x0A>", b"a", b"b", b"c", b"ab", b"abc", b"bc", b"</s>", b"  ", b"[PAD10]"]
    assert made.types == [UNKNOWN, BYTE, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, CONTROL, USER_DEFINED, UNUSED]
    assert made.scores[5:8] == [0.0, -1.0, -2.0]
    assert max(made.scores[2:5]) < -1e6


def test_a_token_beyond_the_embedding_is_refused() -> None:
    with pytest.raises(ValueError, match=r"token 1 of tokenizer\.json has no row"):
        vocabulary_of({"model": {"vocab": {"a": 0, "b": 1}}}, 1)


@pytest.mark.parametrize("more", [{}, {"<image>": 2}])
def test_an_added_token_beyond_the_embedding_is_left_out_whether_or_not_the_vocabulary_has_it_too(more: dict[str, int]) -> None:
    added = [{"id": 1, "content": "</s>", "special": True}, {"id": 2, "content": "<image>", "special": True}]
    made = vocabulary_of({"model": {"vocab": {"a": 0, "</s>": 1, **more}}, "added_tokens": added}, 2)
    assert made.texts == [b"a", b"</s>"]
    assert made.types == [NORMAL, CONTROL]
