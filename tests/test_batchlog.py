"""What a store remembers of batches, also one that an older pillm wrote."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pillm.answers import AnswerStore
from pillm.batchlog import Batch
from pillm.records import Answer, Prompt, Request


def request(key: str) -> Request:
    prompt = Prompt(id=key, messages=())
    return Request(key=key, prompt=prompt, messages=())


def test_a_batch_is_open_from_its_first_record_until_its_results_are_stored(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        store.batch_begun("n", "me")
        call = store.sent(request("v1:a"), teacher="t", version="1", batch="n")
        assert store.open_batches("me") == [Batch("n", None)]
        assert store.open_batches("somebody") == []
        store.batch_submitted("n", "id")
    with AnswerStore(tmp_path / "a.sqlite") as store:
        assert store.open_batches() == [Batch("n", "id")]
        assert store.batch_calls("n") == {"v1:a": call}
        assert store.in_a_batch("v1:a")
        assert store.unknown_outcomes() == []
        store.answered(request("v1:a"), call, Answer("x"))
        assert store.batch_calls("n") == {}
        store.batch_ended("n")
        assert store.open_batches() == []


def test_a_call_whose_batch_ended_without_it_was_never_heard_of(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        store.batch_begun("n", "me")
        store.sent(request("v1:a"), teacher="t", version="1", batch="n")
        store.batch_ended("n")
        assert store.unknown_outcomes() == ["v1:a"]
        assert not store.in_a_batch("v1:a")
        store.batch_begun("empty", "me")
        store.batch_dropped("empty")
        assert store.open_batches() == []


def test_batches_go_along_when_a_store_is_absorbed(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        store.batch_begun("n", "me")
        store.batch_submitted("n", "id")
        store.sent(request("v1:a"), teacher="t", version="1", batch="n")
    with AnswerStore(tmp_path / "b.sqlite") as store:
        store.sent(request("v1:b"), teacher="t", version="1")
        store.absorb(tmp_path / "a.sqlite")
        assert store.open_batches("me") == [Batch("n", "id")]
        assert list(store.batch_calls("n")) == ["v1:a"]


def test_a_store_of_before_there_were_batches_is_read_unchanged_and_upgraded_on_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with AnswerStore(path) as store:
        store.answered(request("v1:a"), store.sent(request("v1:a"), teacher="t", version="1"), Answer("kept"))
    old = sqlite3.connect(path)
    old.executescript("DROP TABLE batches; ALTER TABLE calls DROP COLUMN batch; PRAGMA user_version=2;")
    old.close()
    before = path.read_bytes()
    with AnswerStore(path, read_only=True) as store:
        assert store.open_batches() == []
        assert store.answer("v1:a") == Answer("kept")
    assert path.read_bytes() == before
    with AnswerStore(path) as store:
        store.batch_begun("n", "me")
        assert store.answer("v1:a") == Answer("kept")
