"""What a store of answers remembers of batches: that one is to be submitted, what the provider calls it, that it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from pillm.database import Database

BATCH_TABLES = """
CREATE TABLE IF NOT EXISTS batches(
    name TEXT PRIMARY KEY, teacher TEXT NOT NULL, id TEXT, begun TEXT NOT NULL, ended TEXT, price TEXT NOT NULL,
    pass INTEGER NOT NULL, requests INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT 0);
"""
WAITING = "outcome IS NULL AND batch IN (SELECT name FROM batches WHERE ended IS NULL)"
"""What is true of a call that waits in a batch."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch by our name and the provider's id, which is None where we never heard whether it arrived."""

    name: str
    id: str | None = None
    price: Decimal = Decimal(1)
    """What its calls cost, as a share of what they cost alone."""
    requests: int = 0


class BatchLog(Database):
    """The batches of a store and which of its calls are in them."""

    def batch_begun(self, name: str, teacher: str, price: Decimal, since: int) -> Batch:
        """Record that calls are about to be put into a batch.

        `teacher` says whose; `since` is the last call before the pass that makes it: the pass goes on, over any number of
        runs, until none of its batches is open.
        """
        with self._transaction():
            self._run(
                "INSERT INTO batches(name, teacher, begun, price, pass) VALUES(?,?,?,?,?)",
                (name, teacher, now(), str(price), since),
            )
        return Batch(name, price=price)

    def batch_filled(self, name: str, requests: int) -> None:
        """Record how many calls a batch holds, and have the disk keep them: it is submitted next."""
        with self._transaction(flush=True):
            self._run("UPDATE batches SET requests=? WHERE name=?", (requests, name))

    def batch_submitted(self, name: str, id: str) -> None:
        """Record what the provider calls a batch."""
        with self._transaction(flush=True):
            self._run("UPDATE batches SET id=? WHERE name=?", (id, name))

    def batch_missed(self, name: str, *, gone: bool) -> None:
        """Record that a batch cannot be had from the provider, or can again; the pass does not go on for its sake."""
        with self._transaction():
            self._run("UPDATE batches SET gone=? WHERE name=?", (int(gone), name))

    def batch_ended(self, name: str) -> None:
        """Record that all results of a batch are stored, or that it is given up."""
        with self._transaction():
            self._run("UPDATE batches SET ended=? WHERE name=?", (now(), name))

    def batch_withdrawn(self, name: str) -> None:
        """Record that a batch was never asked: its calls without an outcome took nothing."""
        with self._transaction():
            self._run(
                "UPDATE calls SET outcome='withdrawn', tokens=0, nanodollars=0 WHERE batch=? AND outcome IS NULL", (name,)
            )
            self._run("UPDATE batches SET ended=? WHERE name=?", (now(), name))

    def open_batches(self, teacher: str | None = None) -> list[Batch]:
        """Return the batches that are not ended, oldest first: those of a teacher, or of all."""
        rows = self._run(
            "SELECT name, id, price, requests FROM batches WHERE ended IS NULL AND (?1 IS NULL OR teacher = ?1) "
            "ORDER BY begun, rowid",
            (teacher,),
        )
        return [Batch(name, id, Decimal(price), requests) for name, id, price, requests in rows]

    def open_pass(self, teacher: str) -> int | None:
        """Return the last call before the pass whose batches are still open; None where none are."""
        query = "SELECT min(pass) FROM batches WHERE ended IS NULL AND NOT gone AND teacher=?"
        found = self._run(query, (teacher,)).fetchone()[0]
        return None if found is None else int(found)

    def pass_of(self, call: int) -> int | None:
        """Return the last call before the pass of the batch that a call is in; None for one that was asked alone."""
        found = self._run("SELECT pass FROM batches WHERE name = (SELECT batch FROM calls WHERE id=?)", (call,)).fetchone()
        return None if found is None else int(found[0])

    def batch_calls(self, name: str) -> dict[str, int]:
        """Return the calls of a batch that have no outcome yet: their numbers by key."""
        rows = self._run("SELECT key, id FROM calls WHERE batch=? AND outcome IS NULL ORDER BY id", (name,))
        return dict(rows.fetchall())

    def in_a_batch(self, key: str) -> bool:
        """Say whether a key is asked in a batch that is not ended."""
        return self._run(f"SELECT 1 FROM calls WHERE key=? AND {WAITING} LIMIT 1", (key,)).fetchone() is not None  # noqa: S608

    def unpriced_in_batches(self) -> bool:
        """Say whether calls wait in batches for which no money was set aside: their price was not known."""
        return self._run(f"SELECT 1 FROM calls WHERE nanodollars IS NULL AND {WAITING} LIMIT 1").fetchone() is not None  # noqa: S608


def now() -> str:
    """Return the time as a store writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
