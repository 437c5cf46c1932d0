from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest

from pillm.intake.faults import Fault
from pillm.intake.gguf import Head, read_head
from pillm.intake.ggufmeaning import check_meaning, parts_of, templates_of
from pillm.testing.ggufs import Typed, gguf
from pillm.testing.hostile import MODEL, TEMPLATE, TENSORS


def head(**changed: Any) -> Head:
    raw = gguf({**MODEL, **{key.replace("__", "."): value for key, value in changed.items()}}, TENSORS, 160)
    return read_head(io.BytesIO(raw), len(raw))


def test_a_sound_model_has_nothing_worth_telling() -> None:
    assert check_meaning(head()) == ()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"tokenizer__ggml__tokens": ["a", "b", "c", "a"], "tokenizer__ggml__token_type": [1] * 4},
            "tokens 0 and 3 have the same",
        ),
        ({"tokenizer__ggml__scores": [1.0] * 3}, "has 3 items for 4 tokens"),
        ({"tokenizer__ggml__tokens": ["<unk>", "<0xG1>", "a", "b"]}, "token 1 is said to be a byte"),
        ({"tokenizer__ggml__model": "gpt2", "tokenizer__ggml__merges": ["a b", "ab"]}, "merge 1 is b'ab'"),
        ({"tokenizer__ggml__tokens": ["a", "b"], "tokenizer__ggml__token_type": [1] * 2}, "embeddings for 4"),
        ({"llama__block_count": 5000}, "llama.block_count is 5000"),
        ({"llama__block_count": 0}, "llama.block_count is 0, and it holds 2 tensors"),
        ({"llama__block_count": "two"}, "llama.block_count is 'two'"),
        ({"general__architecture": "../llama"}, "its architecture is called '../llama'"),
        ({"tokenizer__chat_template": "x" * (2 << 20)}, "longer than 1 MiB"),
    ],
)
def test_what_llama_cpp_would_die_of_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(Fault) as caught:
        check_meaning(head(**changed))
    assert reason in caught.value.reason


def test_several_empty_tokens_are_told_apart_by_llama_cpp_itself() -> None:
    assert check_meaning(head(tokenizer__ggml__tokens=["<unk>", "<0x0A>", "", ""])) == ()


def test_a_vocabulary_without_bytes_may_call_a_token_what_it_likes() -> None:
    assert check_meaning(head(tokenizer__ggml__model="gpt2", tokenizer__ggml__merges=["a b"])) == ()


def test_a_special_token_that_is_not_there_is_told() -> None:
    (note,) = check_meaning(head(tokenizer__ggml__bos_token_id=77))
    assert "bos_token_id is 77, and there are 4 tokens" in note
    assert check_meaning(head(tokenizer__ggml__bos_token_id=Typed(4, 0xFFFFFFFF))) == ()


def test_a_template_that_is_not_the_one_of_the_training_is_flagged() -> None:
    trained = hashlib.sha256(TEMPLATE.encode()).hexdigest()
    assert check_meaning(head(pillm__template=trained)) == ()
    (note,) = check_meaning(head(pillm__template=trained, tokenizer__chat_template=TEMPLATE + " "))
    assert "not the one that the student was trained with" in note


def test_every_template_of_a_file_is_found() -> None:
    found = templates_of(head(**{"tokenizer__chat_template__tool_use": "{{ tools }}"}))
    assert found == (TEMPLATE, "{{ tools }}")


def test_the_other_parts_of_a_split_model_stand_beside_the_first() -> None:
    split = head(split__count=Typed(2, 3))
    assert parts_of(split, "m-00001-of-00003.gguf") == ("m-00002-of-00003.gguf", "m-00003-of-00003.gguf")
    assert parts_of(head(), "m.gguf") == ()
    for name in ("m.gguf", "m-00002-of-00003.gguf"):
        with pytest.raises(Fault, match="give the first"):
            parts_of(split, name)
