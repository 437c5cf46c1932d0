"""What a store remembers of batches, also one that an older pillm wrote."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from pillm.answers import AnswerStore, Spend
from pillm.batchlog import Batch
from pillm.records import Answer, Prompt, Request, Usage


def begin(store: AnswerStore, name: str, since: int = 0) -> Batch:
    return store.batch_begun(name, "me", Decimal("0.5"), since)


def request(key: str) -> Request:
    prompt = Prompt(id=key, messages=())
    return Request(key=key, prompt=prompt, messages=())


def test_a_batch_is_open_from_its_first_record_until_its_results_are_stored(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        batch = begin(store, "n")
        call = store.sent(request("v1:a"), teacher="t", version="1", batch="n")
        assert store.open_batches("me") == [batch]
        assert store.open_batches("somebody") == []
        store.batch_submitted("n", "id")
    with AnswerStore(tmp_path / "a.sqlite") as store:
        assert store.open_batches() == [replace(batch, id="id")]
        assert store.batch_calls("n") == {"v1:a": call}
        assert store.in_a_batch("v1:a")
        assert store.unknown_outcomes() == []
        store.answered(request("v1:a"), call, Answer("x"))
        assert store.batch_calls("n") == {}
        store.batch_ended("n")
        assert store.open_batches() == []


def test_a_call_whose_batch_ended_without_it_was_never_heard_of(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        begin(store, "n")
        store.sent(request("v1:a"), teacher="t", version="1", batch="n")
        store.batch_ended("n")
        assert store.unknown_outcomes() == ["v1:a"]
        assert not store.in_a_batch("v1:a")
        begin(store, "empty")
        store.batch_withdrawn("empty")
        assert store.open_batches() == []


def test_batches_go_along_when_a_store_is_absorbed(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        batch = begin(store, "n", since=5)
        store.batch_submitted("n", "id")
        store.sent(request("v1:a"), teacher="t", version="1", batch="n")
    with AnswerStore(tmp_path / "b.sqlite") as store:
        store.sent(request("v1:b"), teacher="t", version="1")
        store.absorb(tmp_path / "a.sqlite")
        assert store.open_batches("me") == [replace(batch, id="id")]
        assert store.open_pass("me") == 6, "calls are numbered on"
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
        begin(store, "n")
        assert store.answer("v1:a") == Answer("kept")


def test_calls_of_a_batch_that_was_never_asked_took_nothing(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        begin(store, "n")
        store.sent(request("v1:a"), teacher="t", version="1", batch="n", reserved=Spend(tokens=7, cost=Decimal(1)))
        assert store.spent().tokens == 7
        store.batch_withdrawn("n")
        assert store.spent() == Spend(tokens=0, cost=Decimal(0))
        assert store.unknown_outcomes() == []
        assert store.open_batches() == []


def test_a_pass_goes_on_until_none_of_its_batches_is_open(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        assert store.open_pass("me") is None
        begin(store, "n", since=3)
        begin(store, "m", since=3)
        store.batch_ended("n")
        assert (store.open_pass("me"), store.open_pass("you")) == (3, None)
        store.batch_ended("m")
        assert store.open_pass("me") is None


def test_an_answer_out_of_a_batch_is_priced_later_at_the_share_of_its_batch(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        begin(store, "n")
        for key, batch in (("v1:a", "n"), ("v1:b", None)):
            number = store.sent(request(key), teacher="t", version="1", batch=batch)
            assert store.unpriced_in_batches() is (key == "v1:a")
            store.answered(request(key), number, Answer("x", usage=Usage(prompt_tokens=1, completion_tokens=1)))
        assert [share for _, _, share in store.unpriced()] == [Decimal("0.5"), Decimal(1)]


def test_the_disk_keeps_a_batch_before_it_is_submitted_and_its_id_as_soon_as_it_is_known(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        begin(store, "n")
        for record in (lambda: store.batch_filled("n", 1), lambda: store.batch_submitted("n", "id")):
            said: list[str] = []
            store._db.set_trace_callback(said.append)
            record()
            store._db.set_trace_callback(None)
            assert "PRAGMA synchronous=NORMAL" not in said
            assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
            store.sent(request("v1:x"), teacher="t", version="1")  # others are flushed by the group
        assert store.open_batches()[0].requests == 1


def test_a_pass_does_not_go_on_for_a_batch_that_is_gone(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        begin(store, "n", since=3)
        call = store.sent(request("v1:a"), teacher="t", version="1", batch="n")
        assert store.pass_of(call) == 3
        assert store.pass_of(store.sent(request("v1:b"), teacher="t", version="1")) is None
        store.batch_missed("n", gone=True)
        assert store.open_pass("me") is None
        assert store.open_batches("me") != []
        store.batch_missed("n", gone=False)
        assert store.open_pass("me") == 3
