"""A file of ours is upgraded, refused when it is newer, and read without a change."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.database import Database
from pillm.errors import StorageError


class Notes(Database):
    """One table; its first format had no author."""

    format = 2
    tables = "CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text TEXT, author TEXT);"
    upgrades: ClassVar[dict[int, str]] = {1: "ALTER TABLE notes ADD COLUMN author TEXT;"}

    def write(self, text: str) -> None:
        with self._transaction():
            self._run("INSERT INTO notes(text, author) VALUES(?, 'me')", (text,))

    def texts(self) -> list[tuple[str, str | None]]:
        return list(self._run("SELECT text, author FROM notes ORDER BY id"))


def test_an_older_file_is_brought_to_the_newest_format_once(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "n.sqlite")
    old.executescript("CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT); INSERT INTO notes(text) VALUES('old')")
    old.execute("PRAGMA user_version=1")
    old.close()
    for text in ("new", "newer"):
        with Notes(tmp_path / "n.sqlite") as notes:
            notes.write(text)
    with Notes(tmp_path / "n.sqlite", read_only=True) as notes:
        assert notes.texts() == [("old", None), ("new", "me"), ("newer", "me")]


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "n.sqlite").execute("PRAGMA user_version=3")
    with pytest.raises(StorageError, match=r"newer pillm \(format 3\)"):
        Notes(tmp_path / "n.sqlite")


def test_a_record_that_fails_leaves_nothing_of_its_transaction(tmp_path: Path) -> None:
    with Notes(tmp_path / "n.sqlite") as notes:
        notes.write("kept")
        with pytest.raises(StorageError, match="no such table"), notes._transaction():
            notes._run("INSERT INTO notes(text) VALUES('half')")
            notes._run("INSERT INTO nowhere VALUES(1)")
        notes.write("after")
        assert [text for text, _ in notes.texts()] == ["kept", "after"]


def test_nothing_is_written_to_a_file_that_is_only_read(tmp_path: Path) -> None:
    with Notes(tmp_path / "n.sqlite") as notes:
        notes.write("kept")
    with Notes(tmp_path / "n.sqlite", read_only=True) as notes, pytest.raises(StorageError, match="cannot be used"):
        notes.write("no")
