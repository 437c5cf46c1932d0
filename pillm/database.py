"""A SQLite file that survives a kill at any moment: every record committed at once, the disk flushed by the group."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from types import TracebackType
from typing import ClassVar, Self

from pillm.errors import StorageError

SYNC_SECONDS = 0.02
"""Every record is committed at once, which a killed process cannot undo; the disk is told to flush at most this often."""

_INDEX_STEP = 2**16
"""Bytes: the index of the log grows by half of this at a time."""


class Database:
    """A SQLite file with the tables of a subclass; open it as a context manager.

    `read_only` changes not a byte of the file, nor does it put one beside it. Raises StorageError where it cannot be used.
    """

    format: ClassVar[int]
    tables: ClassVar[str]
    """Statements that make the tables where they are not there."""
    upgrades: ClassVar[dict[int, str]] = {}
    """Statements that bring a file of that format to the next one."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._synced = 0.0
        self._flushing: bool | None = None
        try:
            self._db = _connected(path, read_only=read_only)
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from error
        try:
            self._prepare()
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise self._refusal(error) from error
            raise

    def _prepare(self) -> None:
        """Make the tables, or bring those of an older format to the newest."""
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in range(self.format + 1):
            raise StorageError(f"{self.path} is of a newer pillm (format {version}). Upgrade pillm; nothing was changed.")
        if not self._read_only:
            self._upgrade(version)
        elif version < self.format:  # of an older pillm, or nothing was written yet: read as it would be when upgraded
            there, self._db = self._db, sqlite3.connect("", isolation_level=None)  # a temporary file: it may be large
            there.backup(self._db)
            there.close()
            self._upgrade(version)

    def _upgrade(self, version: int) -> None:
        upgrades = (self.upgrades.get(number, "") for number in range(version or self.format, self.format))
        # one transaction: a kill in the middle must not leave a file that is neither old nor new
        self._db.executescript(f"BEGIN IMMEDIATE;{self.tables}{''.join(upgrades)}PRAGMA user_version={self.format};COMMIT;")

    def _refusal(self, error: sqlite3.Error) -> StorageError:
        if _is_full(self.path, error):
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
                with self._transaction():
                    pass
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
        except OverflowError as error:
            raise StorageError(f"{self.path}: a number is too large to be stored ({values!r:.200}).") from error

    def _write_pending(self) -> None:
        """Write what was left for the next transaction."""

    @contextmanager
    def _transaction(self, *, flush: bool = False) -> Iterator[None]:
        """Commit what is written meanwhile; `flush` has the disk keep it before anything else happens."""
        now = time.monotonic()
        flush = flush or now - self._synced > SYNC_SECONDS
        if flush is not self._flushing:
            self._run(f"PRAGMA synchronous={'FULL' if flush else 'NORMAL'}")
            self._flushing = flush
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._write_pending()
        except BaseException:
            if self._db.in_transaction:  # a full disk has rolled it back already
                self._db.execute("ROLLBACK")
            raise
        self._run("COMMIT")
        if flush:
            self._synced = now


def _is_full(path: Path, error: sqlite3.Error) -> bool:
    """Say whether an error comes of a full disk: SQLite calls it an I/O error where the index of its log finds no room."""
    if "full" in str(error):
        return True
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith("SQLITE_IOERR") and disk_usage(path.parent).free < _INDEX_STEP


def _connected(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if not read_only:
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        return database
    # what a killed process left in the log beside the file must be read too, so that file is not immutable
    still = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{still}", uri=True, isolation_level=None)
