"""Rows that were tokenised before: their texts and ids, kept on this machine from one training to the next.

A row is found by a hash of all that its ids come of: what it says, the tokenizer and its chat template, and the code and the
libraries that read them. So nothing here can be out of date, and a row that is added to a thousand others costs one row. What
cannot be read back whole is tokenised again.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pillm
from pillm_hf.models.hub import TOKENIZER_FILES
from pillm_hf.models.precision import Warn

if TYPE_CHECKING:
    from pillm_hf.rows.chat import Chat

FEWEST = 1000
"""Fewer rows are tokenised in less than a second, and are not kept."""
MOST_BYTES = 2**30
"""Of all kept rows together; those of tokenizers that were used longest ago go first."""
_TABLE = "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, reading TEXT NOT NULL, hash BLOB NOT NULL) WITHOUT ROWID"


class Reading(NamedTuple):
    """What a tokenizer makes of a conversation: `ids[start:end]` are learnt, unless there is a fault."""

    text: str
    ids: list[int]
    start: int
    end: int
    fault: str | None


def cache_folder() -> Path:
    """Return where tokenised rows are kept; it may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pillm" / "tokens"


def row_key(messages: Sequence[pillm.Message], tools: Sequence[Any], answer: pillm.Answer) -> bytes:
    """Return a hash of what a row says."""
    said = json.dumps([list(messages), list(tools), answer.content, list(answer.tool_calls)])  # order counts: templates show it
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


class TokenCache:
    """The rows that one tokenizer has read, in an SQLite file; where that fails, rows are tokenised as if it were empty."""

    def __init__(self, path: Path, warn: Warn) -> None:
        self._path, self._warn, self._file = path, warn, None
        with self._guarded():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_room(path.parent)
            self._file = sqlite3.connect(path, timeout=10)
            self._file.execute("PRAGMA synchronous=OFF")  # what a power cut damages is found by its hash
            self._file.execute(_TABLE)
            os.utime(path)

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Reading]:
        """Return those of the rows that are here and whole."""
        found: dict[bytes, Reading] = {}
        wanted = list(dict.fromkeys(keys))
        if self._file is not None and wanted:
            with self._guarded():
                marks = ",".join("?" * len(wanted))
                rows = self._file.execute(f"SELECT key, reading, hash FROM rows WHERE key IN ({marks})", wanted)  # noqa: S608
                found = {key: Reading(*json.loads(text)) for key, text, seal in rows if seal == _seal(key, text)}
        return found

    def put(self, readings: Mapping[bytes, Reading]) -> None:
        """Keep rows."""
        if self._file is not None and readings:
            with self._guarded(), self._file:
                texts = [(key, json.dumps(reading)) for key, reading in readings.items()]
                sealed = [(key, text, _seal(key, text)) for key, text in texts]
                self._file.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", sealed)

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Go on without the file where it cannot be used, and remove it where it is damaged."""
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            with suppress(sqlite3.Error):
                self.close()
            self._file = None
            damaged = not isinstance(error, (sqlite3.OperationalError, OSError))
            if damaged:
                _remove(self._path)
            what = "was damaged and is made anew" if damaged else "cannot be used"
            self._warn(f"the token cache {self._path} {what} ({error}); rows are tokenised without it.")


@contextmanager
def opened(chat: Chat, rows: int, warn: Warn) -> Iterator[TokenCache | None]:
    """Open the cache of a tokenizer; None for few rows, and for a template that writes today's date."""
    if rows < FEWEST or "strftime_now" in chat.template:
        yield None
        return
    with closing(TokenCache(cache_folder() / f"{_identity(chat)}.sqlite", warn)) as cache:
        yield cache


def _identity(chat: Chat) -> str:
    """Return a hash of all that ids come of beside the row: tokenizer, template, libraries, and the code that reads rows."""
    import jinja2
    import tokenizers
    import transformers

    from pillm_hf.rows import text

    files = [chat.folder / name for name in TOKENIZER_FILES]
    files += [Path(inspect.getfile(made)) for made in (text, type(chat), pillm.template_message)]
    said = hashlib.sha256()
    for part in (chat.template, *(module.__version__ for module in (jinja2, tokenizers, transformers))):
        said.update(part.encode() + b"\0")
    for path in files:
        said.update(path.name.encode() + (hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"\0"))
    return said.hexdigest()[:32]


def _seal(key: bytes, text: str) -> bytes:
    return hashlib.blake2b(key + text.encode(), digest_size=8).digest()


def _make_room(folder: Path) -> None:
    """Remove what was used longest ago, until the rest is small enough."""
    files = sorted(folder.glob("*.sqlite"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > MOST_BYTES:
            _remove(path)


def _remove(path: Path) -> None:
    for each in (path, path.with_name(f"{path.name}-journal")):
        each.unlink(missing_ok=True)
