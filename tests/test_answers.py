"""The answer store remembers every call."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.answers import AnswerStore, Verdict
from pillm.errors import StorageError
from pillm.records import Answer, Failure, Prompt, Request, Usage, answer_from_json, answer_to_json

PROMPT = Prompt(id="a", messages=({"role": "user", "content": "hi"},))
REQUEST = Request(key="v1:a", prompt=PROMPT, messages=PROMPT.messages)

texts = st.text(max_size=40)
answers = st.builds(
    Answer,
    content=texts,
    reasoning=st.none() | texts,
    finish_reason=st.sampled_from(["stop", "length"]),
    usage=st.none() | st.builds(Usage, prompt_tokens=st.integers(0, 9), completion_tokens=st.integers(0, 9)),
    model=st.none() | texts.filter(bool),
    token_ids=st.none() | st.lists(st.integers(0, 99), min_size=1, max_size=5).map(tuple),
    logprobs=st.none()
    | st.lists(
        st.lists(st.tuples(st.integers(0, 9), st.floats(-9, 0)), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3
    ).map(tuple),
)


@given(answer=answers)
@settings(deadline=None)
def test_every_answer_survives_the_store(answer: Answer) -> None:
    expected = answer.reasoning or None
    kept = answer_from_json(answer_to_json(answer))
    assert kept.content == answer.content
    assert (kept.reasoning or None) == expected
    assert (kept.usage, kept.model, kept.token_ids, kept.logprobs) == (
        answer.usage,
        answer.model,
        answer.token_ids,
        answer.logprobs,
    )


def test_the_first_answer_of_a_key_stays(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        for content in ("first", "second"):
            store.answered(REQUEST, store.sent(REQUEST, teacher="echo", version="1"), Answer(content, raw=b"{}"))
        kept = store.answer("v1:a")
    assert kept is not None
    assert (kept.content, kept.raw) == ("first", b"{}")


def test_a_call_that_was_never_heard_of_again_is_listed(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        call = store.sent(REQUEST, teacher="echo", version="1")
        assert store.unknown_outcomes() == ["v1:a"]
        store.answered(REQUEST, call, Answer("x"))
        assert store.unknown_outcomes() == []


def test_a_failure_is_remembered_until_an_answer_comes(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        store.failed(REQUEST, store.sent(REQUEST, teacher="echo", version="1"), Failure("network", "gone"))
        assert store.failure("v1:a") == Failure("network", "gone")
        store.answered(REQUEST, store.sent(REQUEST, teacher="echo", version="1"), Answer("x"))
        assert store.failure("v1:a") is None


def test_half_of_a_surrogate_pair_is_stored_and_given_back_as_the_sign_for_what_is_lost(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        assert not store.has_answers()
        call = store.sent(REQUEST, teacher="echo", version="1")
        assert store.failed(REQUEST, call, Failure("server", "no\udc00")) == Failure("server", "no\ufffd")
        assert store.failure("v1:a") == Failure("server", "no\ufffd")
        kept = store.answered(REQUEST, call, Answer("a\ud83d", tool_calls=({"arguments": "\ud83d"},), raw=b"sent"))
        assert (kept.content, kept.tool_calls, kept.raw) == ("a\ufffd", ({"arguments": "\ufffd"},), b"sent")
        assert (store.answer("v1:a"), store.has_answers()) == (kept, True)


def test_verdicts_are_appended_and_never_repeated(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        for accepted in (True, True, False, True):
            store.judged("v1:a", Verdict(judge="schema", accepted=accepted))
    rows = sqlite3.connect(tmp_path / "a.sqlite").execute("SELECT accepted FROM verdicts ORDER BY id").fetchall()
    assert [row[0] for row in rows] == [1, 0, 1]


def test_what_was_stored_survives_a_killed_process(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from pillm.answers import AnswerStore
from pillm.records import Answer, Prompt, Request
prompt = Prompt(id="a", messages=({{"role": "user", "content": "hi"}},))
store = AnswerStore(Path({str(tmp_path / "a.sqlite")!r}))
for number in range(50):
    request = Request(key=f"v1:{{number}}", prompt=prompt, messages=prompt.messages)
    store.answered(request, store.sent(request, teacher="echo", version="1"), Answer(str(number)))
store.sent(Request(key="v1:flying", prompt=prompt, messages=prompt.messages), teacher="echo", version="1")
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with AnswerStore(tmp_path / "a.sqlite") as store:
        assert all(store.has_answer(f"v1:{number}") for number in range(50))
        assert store.unknown_outcomes() == ["v1:flying"]


def test_a_closed_store_is_one_file_without_a_log_beside_it(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        store.answered(REQUEST, store.sent(REQUEST, teacher="echo", version="1"), Answer("x"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]


def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_text("not a database, but long enough to be read as one " * 20)
    before = (tmp_path / "a.sqlite").read_bytes()
    with pytest.raises(StorageError, match=r"cannot be used"):
        AnswerStore(tmp_path / "a.sqlite")
    assert (tmp_path / "a.sqlite").read_bytes() == before


def test_a_store_of_a_newer_pillm_is_refused(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "a.sqlite")
    database.execute("PRAGMA user_version=99")
    database.commit()
    database.close()
    with pytest.raises(StorageError, match=r"newer pillm"):
        AnswerStore(tmp_path / "a.sqlite")


def test_reading_a_store_changes_not_a_byte_and_puts_nothing_beside_it(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        store.answered(REQUEST, store.sent(REQUEST, teacher="echo", version="1"), Answer("x"))
    before = (tmp_path / "a.sqlite").read_bytes()
    with AnswerStore(tmp_path / "a.sqlite", read_only=True) as store:
        assert store.has_answer("v1:a")
        assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]
    assert (tmp_path / "a.sqlite").read_bytes() == before


def test_a_store_that_was_killed_before_its_first_table_is_read_as_empty(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "a.sqlite").execute("PRAGMA journal_mode=WAL")
    with AnswerStore(tmp_path / "a.sqlite", read_only=True) as store:
        assert not store.has_answers()


def test_a_store_of_the_first_format_is_gone_on_with(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:
        store.answered(REQUEST, store.sent(REQUEST, teacher="echo", version="1"), Answer("x", usage=Usage(prompt_tokens=3)))
    database = sqlite3.connect(tmp_path / "a.sqlite")
    for column in ("tokens", "nanodollars", "batch"):
        database.execute(f"ALTER TABLE calls DROP COLUMN {column}")
    for statement in ("ALTER TABLE verdicts DROP COLUMN score", "PRAGMA user_version=1"):
        database.execute(statement)
    database.close()
    with AnswerStore(tmp_path / "a.sqlite") as store:
        assert store.answer("v1:a") == Answer("x", usage=Usage(prompt_tokens=3))
        assert [usage.prompt_tokens for _, usage, _ in store.unpriced()] == [3]
        store.sent(REQUEST, teacher="echo", version="1")
