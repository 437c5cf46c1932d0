"""The answer store: one SQLite file that remembers every call, so that an answer is never bought twice.

A request is recorded as sent before it is answered, an answer before anything reads it, and every verdict on an answer
is an appended event. What a row's state is follows from them and is never overwritten.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pillm.errors import StorageError
from pillm.records import Answer, Failure, JSONObject, Request, Usage

FORMAT = 1
SYNC_SECONDS = 0.02
"""Every record is committed at once, which a killed process cannot undo; the disk is told to flush at most this often."""

_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair is no character: it can be neither stored nor written, and becomes U+FFFD."""

_TABLES = """
CREATE TABLE IF NOT EXISTS calls(
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, teacher TEXT NOT NULL, version TEXT NOT NULL, sent TEXT NOT NULL,
    outcome TEXT);
CREATE INDEX IF NOT EXISTS calls_key ON calls(key);
CREATE TABLE IF NOT EXISTS answers(
    key TEXT PRIMARY KEY, call INTEGER NOT NULL REFERENCES calls(id), answer TEXT NOT NULL, raw BLOB, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS failures(
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, call INTEGER NOT NULL REFERENCES calls(id),
    kind TEXT NOT NULL, message TEXT NOT NULL, at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS failures_key ON failures(key);
CREATE TABLE IF NOT EXISTS verdicts(
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, judge TEXT NOT NULL, accepted INTEGER NOT NULL, reason TEXT NOT NULL,
    at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS verdicts_key ON verdicts(key);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Somebody's word on an answer: who judged, accepted or not, and why not."""

    judge: str
    accepted: bool
    reason: str = ""


class AnswerStore:
    """The answers of one labelling folder; open it as a context manager.

    `read_only` changes not a byte of the file, nor does it put one beside it. Raises StorageError where it cannot be used.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._synced = 0.0
        try:
            if read_only:
                # what a killed process left in the log beside the file must be read too, so that file is not immutable
                still = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
                self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{still}", uri=True, isolation_level=None)
            else:
                self._db = sqlite3.connect(path, isolation_level=None)
                self._db.execute("PRAGMA journal_mode=WAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, FORMAT):
                raise StorageError(f"{path} is of a newer pillm (format {version}). Upgrade pillm; nothing was changed.")
            if not read_only:
                self._db.executescript(_TABLES)
                self._db.execute(f"PRAGMA user_version={FORMAT}")
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: sqlite3.Error) -> StorageError:
        if "full" in str(error):
            return StorageError(
                f"{self.path}: no space is left on the disk. Stored answers are safe; free some space and run the same "
                "command again, it resumes."
            )
        return StorageError(f"{self.path}: the answer store cannot be used ({error}). It was left as it is.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Fold the write-ahead log into the file, flush and close it; closing twice is harmless."""
        try:
            if not self._read_only:
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.ProgrammingError:  # closed already
            return
        except sqlite3.Error as error:
            raise self._refusal(error) from error
        finally:
            self._db.close()

    def _run(self, statement: str, values: Iterable[object] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, tuple(values))
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        now = time.monotonic()
        flush = now - self._synced > SYNC_SECONDS
        self._run(f"PRAGMA synchronous={'FULL' if flush else 'NORMAL'}")
        self._run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # a full disk has rolled it back already
                self._db.execute("ROLLBACK")
            raise
        self._run("COMMIT")
        if flush:
            self._synced = now

    def sent(self, request: Request, *, teacher: str, version: str) -> int:
        """Record that a request is about to be sent, and return the call's number."""
        with self._transaction():
            cursor = self._run(
                "INSERT INTO calls(key, teacher, version, sent) VALUES(?,?,?,?)", (request.key, teacher, version, _now())
            )
        return int(cursor.lastrowid or 0)

    def answered(self, request: Request, call: int, answer: Answer) -> Answer:
        """Store an answer, the first one of a key stays; return it with nothing in it that cannot be written."""
        said = json.dumps(answer_to_json(answer), ensure_ascii=False)
        text = _HALF_A_PAIR.sub("\ufffd", said)
        with self._transaction():
            self._run(
                "INSERT OR IGNORE INTO answers(key, call, answer, raw, at) VALUES(?,?,?,?,?)",
                (request.key, call, text, answer.raw, _now()),
            )
            self._run("UPDATE calls SET outcome='answered' WHERE id=?", (call,))
        return answer if text == said else answer_from_json(json.loads(text), answer.raw)

    def failed(self, request: Request, call: int, failure: Failure) -> Failure:
        """Store a failure of a request, the last one of a key counts; return it with nothing in it that cannot be written."""
        failure = replace(failure, message=_HALF_A_PAIR.sub("\ufffd", failure.message))
        with self._transaction():
            self._run(
                "INSERT INTO failures(key, call, kind, message, at) VALUES(?,?,?,?,?)",
                (request.key, call, failure.kind, failure.message, _now()),
            )
            self._run("UPDATE calls SET outcome='failed' WHERE id=?", (call,))
        return failure

    def judged(self, key: str, verdict: Verdict) -> None:
        """Append a verdict, unless the same judge said the same last time."""
        said = (int(verdict.accepted), verdict.reason)
        last = self._run(
            "SELECT accepted, reason FROM verdicts WHERE key=? AND judge=? ORDER BY id DESC LIMIT 1", (key, verdict.judge)
        ).fetchone()
        if last == said:
            return
        with self._transaction():
            self._run(
                "INSERT INTO verdicts(key, judge, accepted, reason, at) VALUES(?,?,?,?,?)", (key, verdict.judge, *said, _now())
            )

    def answer(self, key: str) -> Answer | None:
        """Return the stored answer of a key, or None."""
        row = self._run("SELECT answer, raw FROM answers WHERE key=?", (key,)).fetchone()
        return answer_from_json(json.loads(row[0]), row[1]) if row else None

    def has_answer(self, key: str) -> bool:
        """Say whether a key is answered, without reading the answer."""
        return self._run("SELECT 1 FROM answers WHERE key=?", (key,)).fetchone() is not None

    def has_answers(self) -> bool:
        """Say whether anything was ever answered."""
        return self._run("SELECT 1 FROM answers LIMIT 1").fetchone() is not None

    def failure(self, key: str) -> Failure | None:
        """Return the last failure of a key that was never answered, or None."""
        row = self._run("SELECT kind, message FROM failures WHERE key=? ORDER BY id DESC LIMIT 1", (key,)).fetchone()
        return Failure(row[0], row[1]) if row and not self.has_answer(key) else None

    def unknown_outcomes(self) -> list[str]:
        """Return the keys of calls that were sent and never heard of again: they may have been billed."""
        rows = self._run("SELECT key FROM calls WHERE outcome IS NULL AND key NOT IN (SELECT key FROM answers)")
        return [row[0] for row in rows]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def answer_to_json(answer: Answer) -> JSONObject:
    """Return an answer as plain JSON, without its raw bytes; what is absent is left out."""
    usage = answer.usage
    values: JSONObject = {
        "content": answer.content,
        "reasoning": answer.reasoning,
        "tool_calls": list(answer.tool_calls),
        "finish_reason": answer.finish_reason,
        "usage": [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens] if usage else None,
        "model": answer.model,
        "token_ids": list(answer.token_ids) if answer.token_ids is not None else None,
        "logprobs": answer.logprobs,
        "tokenizer_hash": answer.tokenizer_hash,
        "timings": answer.timings,
    }
    return {name: value for name, value in values.items() if name == "content" or value not in (None, [], {})}


def answer_from_json(value: JSONObject, raw: bytes | None = None) -> Answer:
    """Return the answer of `answer_to_json`."""
    usage, logprobs, ids = value.get("usage"), value.get("logprobs"), value.get("token_ids")
    return Answer(
        content=value["content"],
        reasoning=value.get("reasoning"),
        tool_calls=tuple(value.get("tool_calls", ())),
        finish_reason=value.get("finish_reason", "stop"),
        usage=Usage(prompt_tokens=usage[0], completion_tokens=usage[1], cached_tokens=usage[2]) if usage else None,
        model=value.get("model"),
        token_ids=tuple(ids) if ids is not None else None,
        logprobs=tuple(tuple((int(token), float(p)) for token, p in top) for top in logprobs) if logprobs else None,
        tokenizer_hash=value.get("tokenizer_hash"),
        timings=value.get("timings", {}),
        raw=raw,
    )
