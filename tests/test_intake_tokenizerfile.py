from __future__ import annotations

from typing import Any

import pytest

from pillm.intake.faults import Fault
from pillm.intake.tokenizerfile import check_tokenizer
from pillm.testing.hostile import tokenizers


def tokenizer(**changed: Any) -> dict[str, Any]:
    return {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}, **changed}


def test_the_number_of_ids_is_one_more_than_the_highest() -> None:
    assert check_tokenizer(tokenizer()) == 3
    assert check_tokenizer(tokenizer(added_tokens=[{"id": 9, "content": "<s>"}])) == 10
    assert check_tokenizer({"model": {"type": "Unigram", "vocab": [["a", -1.5], ["b", -2]]}}) == 2
    assert check_tokenizer({"model": {"vocab": {"a": 0}, "merges": ["a b"]}}) == 1


def test_every_hostile_document_that_is_json_is_refused() -> None:
    documents = [(name, told) for name, told in tokenizers() if isinstance(told, dict)]
    assert len(documents) >= 10
    for name, told in documents:
        with pytest.raises(Fault):
            check_tokenizer(told)
            pytest.fail(name)


def test_what_people_write_is_no_growth() -> None:
    steps = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    assert check_tokenizer(tokenizer(normalizer={"type": "Sequence", "normalizers": steps})) == 3
    with pytest.raises(Fault, match="more than 64 times longer"):
        steps += [{"type": "Replace", "pattern": {"Regex": "a"}, "content": "a" * 100}]
        check_tokenizer(tokenizer(normalizer={"type": "Sequence", "normalizers": steps}))


@pytest.mark.parametrize("padding", [None, {"strategy": "BatchLongest"}, {"strategy": {"Fixed": 512}, "pad_to_multiple_of": 8}])
def test_ordinary_padding_passes(padding: Any) -> None:
    assert check_tokenizer(tokenizer(padding=padding)) == 3
