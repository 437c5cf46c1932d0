"""Which files hold a split: by name, by card, by path; never code."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_hf.tables.datafiles import HubFile, choose_files
from pillm_hf.tables.reading import Address

import pillm


def chosen(paths: str, query: str = "", card: Any = None) -> list[str]:
    """Return the paths that an address chooses out of these."""
    files = [HubFile(path, "") for path in paths.split()]
    return [file.path for file in choose_files(files, lambda: card, Address.parse(f"hf://acme/rows{query}"))]


@pytest.mark.parametrize(
    ("paths", "query", "wanted"),
    [
        ("train.jsonl test.jsonl README.md", "", "train.jsonl"),
        ("train.jsonl test.jsonl", "?split=test[:5]", "test.jsonl"),
        ("rows.csv README.md load.py", "", "rows.csv"),
        ("data/train-1-of-2.csv data/train-0-of-2.csv data/test.csv", "", "data/train-0-of-2.csv data/train-1-of-2.csv"),
        ("en/train.csv fr/train.csv", "?config=fr", "fr/train.csv"),
        ("en/train.csv fr/train.csv", "?file=en/*.csv", "en/train.csv"),
        ("a.csv b.csv", "?file=b.csv", "b.csv"),
        ("train/0.parquet train/1.parquet", "", "train/0.parquet train/1.parquet"),
        ("train.jsonl train.csv", "?file=*.csv", "train.csv"),
        ("train.jsonl .cache/train.jsonl ../train.jsonl", "", "train.jsonl"),
        ("constraint.jsonl train.jsonl", "", "train.jsonl"),
    ],
)
def test_a_split_is_found_by_its_files(paths: str, query: str, wanted: str) -> None:
    assert chosen(paths, query) == wanted.split()


CARD = [
    {
        "config_name": "en",
        "data_files": [{"split": "train", "path": "x/*.csv"}, {"split": "test", "path": ["y/1.csv", "y/2.csv"]}],
    },
    {"config_name": "fr", "data_files": "z/*.csv"},
]


def test_the_card_says_where_a_split_is() -> None:
    paths = "x/a.csv x/evil.py y/1.csv y/2.csv z/train.csv"
    assert chosen(paths, "?config=en", CARD) == ["x/a.csv"]
    assert chosen(paths, "?config=en&split=test", CARD) == ["y/1.csv", "y/2.csv"]
    assert chosen(paths, "?config=fr", CARD) == ["z/train.csv"]
    assert chosen(paths, "", [{**CARD[0], "default": True}, CARD[1]]) == ["x/a.csv"]
    assert chosen(paths, "", [CARD[1]]) == ["z/train.csv"]
    assert chosen("train.csv", "", [{"config_name": "en"}]) == ["train.csv"], "a card without files says nothing"


@pytest.mark.parametrize(
    ("paths", "query", "card", "said"),
    [
        ("a.csv b.csv", "", None, "has no split 'train' in a form"),
        ("train.csv", "?split=test", None, "has no split 'test'"),
        ("train.csv", "?config=fr", None, "has no split 'train' of config 'fr'"),
        ("en/train.csv fr/train.csv", "", None, "lies in several folders: en, fr. Choose one with config="),
        ("train.jsonl train.csv", "", None, "as .csv and as .jsonl. Choose with file=*.csv"),
        ("train.py README.md", "", None, "train.py is code and is not run; revision=refs/convert/parquet"),
        ("train.bin", "", None, "has no table that is read here"),
        ("x/a.csv", "", CARD, "has several configs. Choose one with config=: en, fr."),
        ("x/a.csv", "?config=de", CARD, "has no config 'de'"),
        ("x/a.csv", "?config=en&split=dev", CARD, "has no split 'dev'. It has: test, train."),
        ("x/a.txt x/b.csv", "?config=en&split=test", CARD, "has no split 'test'"),
        ("train.csv", "?file=other.csv", None, "has no file=other.csv"),
        ("../train.csv train.txt", "", None, "has no table that is read here"),
    ],
)
def test_what_cannot_be_found_is_told_with_what_there_is(paths: str, query: str, card: Any, said: str) -> None:
    with pytest.raises(pillm.DataError) as caught:
        chosen(paths, query, card)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["load.py", "rows.pkl", "rows.npy", "pytorch_model.bin"])
def test_a_file_that_would_be_code_is_refused_even_by_name(name: str) -> None:
    with pytest.raises(pillm.UnsafeError, match="can run code"):
        chosen(f"{name} train.csv", f"?file={name}")
    with pytest.raises(pillm.DataError):
        chosen(name, "?file=*")


@pytest.mark.parametrize(
    "text",
    [
        "hf://rows",
        "hf://a/b/c",
        "hf://a/../b",
        "hf://a/b?splits=x",
        "hf://a/b?split=x&split=y",
        "hf://a/b?split",
        "hf://a--b/c",
    ],
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(pillm.DataError, match="hf://owner/name"):
        Address.parse(text)


@given(st.text(st.sampled_from("ab/@?&=[]:%-.*0 split"), max_size=40))
def test_no_address_is_more_than_a_sentence_and_a_pinned_one_means_itself(text: str) -> None:
    with suppress(pillm.DataError):
        address = Address.parse(f"hf://{text}")
        pinned = address.pinned("0" * 40)
        assert Address.parse(pinned) == replace(address, revision="0" * 40)


def test_an_address_that_was_pinned_can_be_given_again() -> None:
    commit = "0" * 40
    pinned = Address.parse("hf://a/b?split=train[10%:20%]&config=en&revision=v1").pinned(commit)
    assert pinned == f"hf://a/b@{commit}?split=train[10%:20%]&config=en"
    assert Address.parse(pinned).revision == commit
    assert Address.parse(pinned).pinned(commit) == pinned
