"""The answer store: one SQLite file that remembers every call, so that an answer is never bought twice.

A request is recorded as sent before it is answered, an answer before anything reads it, and every verdict on an answer
is an appended event. What a row's state is follows from them and is never overwritten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import ClassVar

from pillm.batchlog import BATCH_TABLES, WAITING, BatchLog
from pillm.batchlog import now as _now
from pillm.records import Answer, Failure, Request, Usage, answer_from_json, answer_to_json

NANO = 1_000_000_000
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair is no character: it can be neither stored nor written, and becomes U+FFFD."""

_TABLES = """
CREATE TABLE IF NOT EXISTS calls(
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, teacher TEXT NOT NULL, version TEXT NOT NULL, sent TEXT NOT NULL,
    outcome TEXT, tokens INTEGER, nanodollars INTEGER, batch TEXT);
CREATE INDEX IF NOT EXISTS calls_key ON calls(key);
CREATE TABLE IF NOT EXISTS answers(
    key TEXT PRIMARY KEY, call INTEGER NOT NULL REFERENCES calls(id), answer TEXT NOT NULL, raw BLOB, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS failures(
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, call INTEGER NOT NULL REFERENCES calls(id),
    kind TEXT NOT NULL, message TEXT NOT NULL, at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS failures_key ON failures(key);
CREATE TABLE IF NOT EXISTS verdicts(
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, judge TEXT NOT NULL, accepted INTEGER NOT NULL, reason TEXT NOT NULL,
    at TEXT NOT NULL, score REAL);
CREATE INDEX IF NOT EXISTS verdicts_key ON verdicts(key);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Somebody's word on an answer: who judged, accepted or not, and why not."""

    judge: str
    accepted: bool
    reason: str = ""
    score: float | None = None
    """A judge's score; higher is better, and scores of answers to one question compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """Tokens, and money in US dollars; a cost of None is unknown."""

    tokens: int = 0
    cost: Decimal | None = Decimal(0)

    def __add__(self, other: Spend) -> Spend:
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Spend(tokens=self.tokens + other.tokens, cost=cost)

    @property
    def nanodollars(self) -> int | None:
        """Return the cost in billionths of a dollar, rounded up: whole numbers sum exactly."""
        return None if self.cost is None else int((self.cost * NANO).to_integral_value(ROUND_CEILING))


class AnswerStore(BatchLog):
    """The answers of one labelling folder; open it as a context manager.

    `read_only` changes not a byte of the file, nor does it put one beside it. Raises StorageError where it cannot be used.
    """

    format = 3
    tables = _TABLES + BATCH_TABLES
    upgrades: ClassVar[dict[int, str]] = {
        1: "ALTER TABLE calls ADD COLUMN tokens INTEGER; ALTER TABLE calls ADD COLUMN nanodollars INTEGER;"
        "ALTER TABLE verdicts ADD COLUMN score REAL;",
        2: "ALTER TABLE calls ADD COLUMN batch TEXT;",
    }

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        self._verdicts: list[tuple[str, str, int, str, float | None, str]] = []
        self.last_call = self._last_call()
        """The number of the last call that was recorded before the store was opened."""

    def _last_call(self) -> int:
        return int(self._run("SELECT coalesce(max(id), 0) FROM calls").fetchone()[0])

    def sent(
        self, request: Request, *, teacher: str, version: str, reserved: Spend | None = None, batch: str | None = None
    ) -> int:
        """Record that a request is about to be sent, what it may cost at most, and in which batch; return the call's number."""
        kept = reserved or Spend(cost=None)
        with self._transaction():
            cursor = self._run(
                "INSERT INTO calls(key, teacher, version, sent, tokens, nanodollars, batch) VALUES(?,?,?,?,?,?,?)",
                (request.key, teacher, version, _now(), kept.tokens, kept.nanodollars, batch),
            )
        return int(cursor.lastrowid or 0)

    def answered(self, request: Request, call: int, answer: Answer, spent: Spend | None = None) -> Answer:
        """Store an answer, the first one of a key stays; return it with nothing in it that cannot be written."""
        said = json.dumps(answer_to_json(answer), ensure_ascii=False)
        text = _HALF_A_PAIR.sub("\ufffd", said)
        with self._transaction():
            self._run(
                "INSERT OR IGNORE INTO answers(key, call, answer, raw, at) VALUES(?,?,?,?,?)",
                (request.key, call, text, answer.raw, _now()),
            )
            self._heard(call, "answered", spent or Spend(tokens=_tokens(answer), cost=None))
        return answer if text == said else answer_from_json(json.loads(text), answer.raw)

    def failed(self, request: Request, call: int, failure: Failure) -> Failure:
        """Store a failure of a request, the last one of a key counts; return it with nothing in it that cannot be written."""
        failure = replace(failure, message=_HALF_A_PAIR.sub("\ufffd", failure.message))
        with self._transaction():
            self._run(
                "INSERT INTO failures(key, call, kind, message, at) VALUES(?,?,?,?,?)",
                (request.key, call, failure.kind, failure.message, _now()),
            )
            self._heard(call, "failed", Spend())
        return failure

    def _heard(self, call: int, outcome: str, spent: Spend) -> None:
        self._run(
            "UPDATE calls SET outcome=?, tokens=?, nanodollars=? WHERE id=?", (outcome, spent.tokens, spent.nanodollars, call)
        )

    def taken_over(self, key: str, answer: Answer, *, teacher: str, version: str) -> None:
        """Store an answer that another store held: it was paid for there."""
        with self._transaction():
            call = self._run(
                "INSERT INTO calls(key, teacher, version, sent, outcome, tokens, nanodollars) VALUES(?,?,?,?,'taken over',0,0)",
                (key, teacher, version, _now()),
            ).lastrowid
            self._run(
                "INSERT OR IGNORE INTO answers(key, call, answer, raw, at) VALUES(?,?,?,?,?)",
                (key, call, json.dumps(answer_to_json(answer), ensure_ascii=False), answer.raw, _now()),
            )

    def absorb(self, other: Path) -> None:
        """Take over every call, answer, failure and verdict of another store; raise StorageError where it is none."""
        first = self._last_call()
        with AnswerStore(other, read_only=True) as there, self._transaction():
            for read, write in _TAKEN:
                for row in there._run(read):
                    self._run(write, (first, *row))

    def judged(self, key: str, verdict: Verdict, *, first: bool = False) -> None:
        """Append a verdict with the next record that is written, unless the same judge said the same last time.

        `first` says that nobody can have judged this answer before.
        """
        said = (int(verdict.accepted), verdict.reason, verdict.score)
        last = None if first else self._last_verdict(key, verdict.judge)
        if last != said:
            self._verdicts.append((key, verdict.judge, *said, _now()))

    def _last_verdict(self, key: str, judge: str) -> tuple[int, str, float | None] | None:
        waiting = [kept[2:5] for kept in self._verdicts if kept[:2] == (key, judge)]
        found: tuple[int, str, float | None] | None = (
            waiting[-1]
            if waiting
            else self._run(
                "SELECT accepted, reason, score FROM verdicts WHERE key=? AND judge=? ORDER BY id DESC LIMIT 1", (key, judge)
            ).fetchone()
        )
        return found

    def _write_pending(self) -> None:
        for verdict in self._verdicts:
            self._run("INSERT INTO verdicts(key, judge, accepted, reason, score, at) VALUES(?,?,?,?,?,?)", verdict)
        self._verdicts.clear()

    def verdict(self, key: str, judge: str) -> Verdict | None:
        """Return what a judge said last on an answer; None where it said nothing."""
        last = self._last_verdict(key, judge)
        return Verdict(judge=judge, accepted=bool(last[0]), reason=last[1], score=last[2]) if last else None

    def judged_score(self, key: str) -> float | None:
        """Return the score that any judge gave an answer last; None without any."""
        row = self._run(
            "SELECT score FROM verdicts WHERE key=? AND score IS NOT NULL ORDER BY id DESC LIMIT 1", (key,)
        ).fetchone()
        return float(row[0]) if row else None

    def answer(self, key: str) -> Answer | None:
        """Return the stored answer of a key, or None."""
        found = self.answer_of(key)
        return found[0] if found else None

    def answer_of(self, key: str) -> tuple[Answer, int] | None:
        """Return the stored answer of a key with the number of its call, or None."""
        row = self._run("SELECT answer, raw, call FROM answers WHERE key=?", (key,)).fetchone()
        return (answer_from_json(json.loads(row[0]), row[1]), int(row[2])) if row else None

    def answer_text(self, key: str) -> str | None:
        """Return the stored answer of a key as the JSON that it was stored as, or None."""
        row = self._run("SELECT answer FROM answers WHERE key=?", (key,)).fetchone()
        return str(row[0]) if row else None

    def has_answer(self, key: str) -> bool:
        """Say whether a key is answered, without reading the answer."""
        return self._run("SELECT 1 FROM answers WHERE key=?", (key,)).fetchone() is not None

    def has_answers(self) -> bool:
        """Say whether anything was ever answered."""
        return self._run("SELECT 1 FROM answers LIMIT 1").fetchone() is not None

    def failure(self, key: str) -> Failure | None:
        """Return the last failure of a key that was never answered, or None."""
        found = self.failure_of(key)
        return found[0] if found and not self.has_answer(key) else None

    def failure_of(self, key: str) -> tuple[Failure, int] | None:
        """Return the last failure of a key with the number of its call, answered later or not; None without any."""
        row = self._run("SELECT kind, message, call FROM failures WHERE key=? ORDER BY id DESC LIMIT 1", (key,)).fetchone()
        return (Failure(row[0], row[1]), int(row[2])) if row else None

    def unknown_outcomes(self) -> list[str]:
        """Return the keys of calls that were sent and never heard of again: they may have been billed.

        What waits in a batch is not among them: it will be heard of. What is in one that was given up is.
        """
        rows = self._run(
            f"SELECT key FROM calls WHERE outcome IS NULL AND NOT ({WAITING}) AND key NOT IN (SELECT key FROM answers)"  # noqa: S608
        )
        return [row[0] for row in rows]

    def spent(self) -> Spend:
        """Return what all calls took so far; one that was never heard of again counts as much as was set aside for it."""
        tokens, cost, unknown = self._run(
            "SELECT coalesce(sum(tokens), 0), coalesce(sum(nanodollars), 0), "
            "coalesce(sum(nanodollars IS NULL AND outcome IS NOT 'failed'), 0) FROM calls"
        ).fetchone()
        return Spend(tokens=tokens, cost=None if unknown else Decimal(cost) / NANO)

    def reserved(self, call: int) -> Spend:
        """Return what was set aside for a call that has no outcome yet."""
        tokens, cost = self._run("SELECT coalesce(tokens, 0), nanodollars FROM calls WHERE id=?", (call,)).fetchone()
        return Spend(tokens=tokens, cost=None if cost is None else Decimal(cost) / NANO)

    def unpriced(self) -> Iterator[tuple[int, Usage, Decimal]]:
        """Yield number, usage and share of the price of each answered call whose price was not known when it was made."""
        rows = self._run(
            "SELECT calls.id, answer, coalesce(price, '1') FROM calls JOIN answers ON answers.call = calls.id "
            "LEFT JOIN batches ON batches.name = calls.batch WHERE nanodollars IS NULL"
        ).fetchall()
        for call, text, share in rows:
            yield call, answer_from_json(json.loads(text)).usage or Usage(), Decimal(share)

    def priced(self, call: int, spent: Spend) -> None:
        """Record what a call took, now that its price is known."""
        with self._transaction():
            self._run("UPDATE calls SET tokens=?, nanodollars=? WHERE id=?", (spent.tokens, spent.nanodollars, call))


_TAKEN = (
    (
        "SELECT id, key, teacher, version, sent, outcome, tokens, nanodollars, batch FROM calls",
        "INSERT INTO calls(id, key, teacher, version, sent, outcome, tokens, nanodollars, batch) "
        "VALUES(?1+?2,?3,?4,?5,?6,?7,?8,?9,?10)",
    ),
    (
        "SELECT pass, name, teacher, id, begun, ended, price, requests, gone FROM batches ORDER BY rowid",
        "INSERT OR IGNORE INTO batches(pass, name, teacher, id, begun, ended, price, requests, gone) "
        "VALUES(?1+?2,?3,?4,?5,?6,?7,?8,?9,?10)",
    ),
    (
        "SELECT key, call, answer, raw, at FROM answers",
        "INSERT OR IGNORE INTO answers(key, call, answer, raw, at) VALUES(?2,?1+?3,?4,?5,?6)",
    ),
    (
        "SELECT key, call, kind, message, at FROM failures ORDER BY id",
        "INSERT INTO failures(key, call, kind, message, at) VALUES(?2,?1+?3,?4,?5,?6)",
    ),
    (
        "SELECT 0, key, judge, accepted, reason, score, at FROM verdicts ORDER BY id",
        "INSERT INTO verdicts(key, judge, accepted, reason, score, at) VALUES(?3,?4,?5,?6,?7,?8)",
    ),
)
"""How each table of another store is read, and written here: calls are numbered on from the last one here (?1)."""


def _tokens(answer: Answer) -> int:
    return answer.usage.prompt_tokens + answer.usage.completion_tokens if answer.usage else 0
