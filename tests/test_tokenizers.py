"""What a tokenizer means: the same hash however it was written down, another for all that gives other ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pillm
from pillm.tokenizers import tokenizer_hash

Told = dict[str, Any]


def told() -> Told:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": 4, "content": "<end>", "single_word": False, "lstrip": False, "special": True},
            {"id": 5, "content": "<go>", "single_word": False, "lstrip": False, "special": True},
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": None, "byte_fallback": False, "vocab": {"": 0, "a": 1, "b": 2, "ab": 3},
                  "merges": [["a", "b"]]},
    }  # fmt: skip


def hash_of(folder: Path, value: Told, **form: Any) -> str:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(value, **form), "utf-8")
    return tokenizer_hash(path)


def older(value: Told) -> None:
    """Write as versions before 0.20 did."""
    value["model"]["merges"] = ["a b"]
    for part, names in ((value["model"], ("type", "dropout", "byte_fallback")), (value["pre_tokenizer"], ("use_regex",))):
        for name in names:
            del part[name]


def said_again(value: Told) -> None:
    value.update(version="1.1", truncation={"max_length": 9}, padding={"pad_id": 0}, added_tokens=value["added_tokens"][::-1])
    value["pre_tokenizer"]["trim_offsets"] = False
    value["post_processor"] = {"type": "ByteLevel", "trim_offsets": False}


@pytest.mark.parametrize("change", [older, said_again])
def test_the_same_tokenizer_saved_by_another_version_has_the_same_hash(tmp_path: Path, change: Callable[[Told], None]) -> None:
    value = told()
    wanted = hash_of(tmp_path, value)
    change(value)
    for form in ({}, {"indent": 2}, {"sort_keys": True}):
        assert hash_of(tmp_path, value, **form) == wanted


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["model"]["vocab"].update(a=2, b=1),
        lambda value: value["model"]["vocab"].update({"": 6}),
        lambda value: value["model"]["vocab"].pop(""),
        lambda value: value["model"]["merges"].append(["b", "a"]),
        lambda value: value["model"].update(ignore_merges=True),
        lambda value: value.update(normalizer=None),
        lambda value: value["pre_tokenizer"].update(add_prefix_space=True),
        lambda value: value["pre_tokenizer"].update(use_regex=False),
        lambda value: value["added_tokens"].pop(),
        lambda value: value["added_tokens"][0].update(id=7),
        lambda value: value["added_tokens"][0].update(lstrip=True),
    ],
)
def test_what_gives_other_ids_gives_another_hash(tmp_path: Path, change: Callable[[Told], None]) -> None:
    value = told()
    before = hash_of(tmp_path, value)
    change(value)
    assert hash_of(tmp_path, value) != before


def test_a_vocabulary_in_order_counts_by_its_places(tmp_path: Path) -> None:
    value = told()
    value["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [["a", -1.5], ["b", -2.0]]}
    before = hash_of(tmp_path, value)
    value["model"]["vocab"].reverse()
    assert hash_of(tmp_path, value) != before


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"model": {"type": "BPE"}}', '{"model": {"vocab": {}}, "added_tokens": [1]}']
)
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(text, "utf-8")
    with pytest.raises(pillm.DataError, match=r"is no tokenizer .*again"):
        tokenizer_hash(path)
    with pytest.raises(pillm.DataError, match="is no tokenizer"):
        tokenizer_hash(tmp_path / "none")
