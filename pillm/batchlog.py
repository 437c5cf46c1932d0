"""What a store of answers remembers of batches: that one is to be submitted, what the provider calls it, that it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pillm.database import Database

BATCH_TABLES = """
CREATE TABLE IF NOT EXISTS batches(
    name TEXT PRIMARY KEY, teacher TEXT NOT NULL, id TEXT, begun TEXT NOT NULL, ended TEXT);
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch by our name and the provider's id, which is None where we never heard whether it arrived."""

    name: str
    id: str | None


class BatchLog(Database):
    """The batches of a store and which of its calls are in them."""

    def batch_begun(self, name: str, teacher: str) -> None:
        """Record that calls are about to be put into a batch; `teacher` says whose."""
        with self._transaction():
            self._run("INSERT INTO batches(name, teacher, begun) VALUES(?,?,?)", (name, teacher, now()))

    def batch_submitted(self, name: str, id: str) -> None:
        """Record what the provider calls a batch."""
        with self._transaction():
            self._run("UPDATE batches SET id=? WHERE name=?", (id, name))

    def batch_ended(self, name: str) -> None:
        """Record that all results of a batch are stored."""
        with self._transaction():
            self._run("UPDATE batches SET ended=? WHERE name=?", (now(), name))

    def batch_dropped(self, name: str) -> None:
        """Forget a batch that no call was put into."""
        with self._transaction():
            self._run("DELETE FROM batches WHERE name=?", (name,))

    def open_batches(self, teacher: str | None = None) -> list[Batch]:
        """Return the batches that are not ended, oldest first: those of a teacher, or of all."""
        rows = self._run(
            "SELECT name, id FROM batches WHERE ended IS NULL AND (?1 IS NULL OR teacher = ?1) ORDER BY begun, rowid",
            (teacher,),
        )
        return [Batch(*row) for row in rows]

    def batch_calls(self, name: str) -> dict[str, int]:
        """Return the calls of a batch that have no outcome yet: their numbers by key."""
        rows = self._run("SELECT key, id FROM calls WHERE batch=? AND outcome IS NULL ORDER BY id", (name,))
        return dict(rows.fetchall())

    def in_a_batch(self, key: str) -> bool:
        """Say whether a key is asked in a batch that is not ended."""
        return self._run(f"SELECT 1 FROM calls WHERE key=? AND {WAITING} LIMIT 1", (key,)).fetchone() is not None  # noqa: S608


WAITING = "outcome IS NULL AND batch IN (SELECT name FROM batches WHERE ended IS NULL)"
"""What is true of a call that waits in a batch."""


def now() -> str:
    """Return the time as a store writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
