"""Which texts were seen before, for any number of them: on disk, so that a million row ids take no memory."""

from __future__ import annotations

import sqlite3
from typing import Self


class Seen:
    """Texts that were seen, each with a note; a context manager, whose temporary file goes with it."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)  # no name: a private file that SQLite removes
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("CREATE TABLE seen(text TEXT PRIMARY KEY, note TEXT NOT NULL) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def first(self, text: str, note: str = "") -> bool:
        """Say whether a text is seen for the first time, and remember it with the note."""
        return self._db.execute("INSERT OR IGNORE INTO seen VALUES(?,?)", (text, note)).rowcount == 1

    def note(self, text: str) -> str | None:
        """Return the note that a text was seen with first; None where it was not seen."""
        row = self._db.execute("SELECT note FROM seen WHERE text=?", (text,)).fetchone()
        return str(row[0]) if row else None
