from __future__ import annotations

from typing import Any

import pytest
from pillm_llamacpp.converting.hooks import Refused, answer_pre, space_before, stripping_name
from pillm_llamacpp_zoo import byte_level, sentence_pieces


def reloaded(tokenizer: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


@pytest.mark.parametrize(
    ("spaces", "text", "before"),
    [
        ("always", "<s>bonjour", True),
        ("never", "bonjour", False),
        ("first", "bonjour", True),
        ("first", "<s>bonjour", False),  # the tokenizer puts none after a special token
    ],
)
def test_a_space_goes_before_a_text_as_the_reloaded_tokenizer_puts_it(spaces: str, text: str, before: bool) -> None:
    assert space_before(reloaded(sentence_pieces(spaces)), text) is before


def test_a_byte_level_tokenizer_and_one_that_is_not_fast_have_no_such_space() -> None:
    assert space_before(reloaded(byte_level()), "bonjour") is None
    assert space_before(object(), "bonjour") is None


def pre(job: dict[str, Any], *, known: str | None) -> str:
    class Model:
        def get_vocab_base_pre(self, tokenizer: Any) -> str:
            if known is None:
                raise NotImplementedError
            return known

    answer_pre(Model, {"pre": None, "derived": None, **job})
    return Model().get_vocab_base_pre(None)


def test_the_chosen_pre_tokenizer_comes_first_then_the_known_one_then_the_derived() -> None:
    assert pre({"pre": "qwen2", "derived": "gpt-2"}, known="llama-bpe") == "qwen2"
    assert pre({"derived": "gpt-2"}, known="llama-bpe") == "llama-bpe"
    assert pre({"derived": "gpt-2"}, known=None) == "gpt-2"
    with pytest.raises(Refused, match="option `pre`"):
        pre({}, known=None)


@pytest.mark.parametrize(
    ("name", "strip", "told"),
    [
        ("Phi-3-mini", True, "Phi-3-mini"),
        ("student", True, "student (Phi-3)"),
        ("my-phi3-student", False, "my-phi 3-student"),
        ("Phi-4", False, "Phi-4"),
        ("student", False, "student"),
    ],
)
def test_a_files_name_says_what_llama_cpp_reads_out_of_it(name: str, strip: bool, told: str) -> None:
    assert stripping_name(name, strip) == told
