"""The history of measurements: one file that is only ever appended to, each line with a checksum, in the order it was written.

What is about to be timed is noted before it begins, so that a measurement that was killed is seen; wall clocks may step
back, so order is the order of lines, and each has a number. A damaged file is moved aside whole and the good lines go on.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pillm.errors import DataError, StorageError, Unavailable
from pillm.files import fsync_folder, replacing, storage_errors
from pillm.jsonl import parse_json
from pillm.performance.benchmark import Benchmark, read_benchmark
from pillm.records import JSONObject

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind: TypeAlias = Literal["started", "measured", "interrupted", "baseline"]
_KINDS = ("started", "measured", "interrupted", "baseline")
_MARKS = (b'"sequence": ', b'"checksum": "')
_PATIENCE = 10.0
_SEAL = len(', "checksum": ""}') + 64


def default_history() -> Path:
    """Return where measurements of this machine's user are kept."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "pillm" / "bench" / "history.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a history."""

    sequence: int
    kind: Kind
    at: str
    """What the wall clock said; nothing is ordered by it."""
    body: JSONObject = field(default_factory=dict)

    @property
    def of(self) -> int | None:
        """Return the number of the entry that this one is about: the start of a measurement, or what a baseline names."""
        number = self.body.get("of")
        return number if isinstance(number, int) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measurement of a history with its number."""

    sequence: int
    at: str
    record: Benchmark


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a history holds, and which of its lines are damaged: number and reason."""

    entries: tuple[Entry, ...]
    damaged: tuple[tuple[int, str], ...] = ()
    lines: tuple[bytes, ...] = ()
    """The lines that are whole."""
    foreign: bool = False
    """Whether there is something, and not one line of it was ever an entry: another program's file."""

    @property
    def stepped_back(self) -> tuple[int, ...]:
        """Return the numbers of entries whose wall clock was behind that of the entry before."""
        return tuple(later.sequence for earlier, later in pairwise(self.entries) if later.at < earlier.at)

    def measured(self) -> Iterator[Measured]:
        """Yield the measurements, oldest first; raise DataError for one of a newer pillm."""
        for one in self.entries:
            if one.kind == "measured":
                text = json.dumps(one.body["record"])
                record = read_benchmark(text, f"entry {one.sequence}")
                yield Measured(sequence=one.sequence, at=one.at, record=record)

    def unfinished(self) -> Iterator[Entry]:
        """Yield the measurements that were begun and neither finished nor given up: they were killed, or go on now."""
        ended = {one.of for one in self.entries if one.kind in ("measured", "interrupted")}
        yield from (one for one in self.entries if one.kind == "started" and one.sequence not in ended)

    @property
    def last_measured(self) -> int:
        """Return the number of the newest measurement; 0: there is none."""
        return max((one.sequence for one in self.entries if one.kind == "measured"), default=0)

    def interrupted(self) -> Iterator[Entry]:
        """Yield what ended early while it was being timed."""
        yield from (one for one in self.entries if one.kind == "interrupted" and one.body.get("timed", True))

    def refused(self) -> Iterator[Entry]:
        """Yield what ended before anything was timed: no model could be opened, or the machine would not do."""
        yield from (one for one in self.entries if one.kind == "interrupted" and not one.body.get("timed", True))

    def find(self, name: str) -> Measured:
        """Return a measurement by its number, as `last`, or by the name of a baseline; raise DataError where there is none."""
        measured = {one.sequence: one for one in self.measured()}
        if name == "last" and measured:
            return measured[max(measured)]
        named = [one.of for one in self.entries if one.kind == "baseline" and one.body.get("name") == name]
        number = named[-1] if named else int(name) if name.isdecimal() and name.isascii() and len(name) < 10 else None
        if number in measured:
            return measured[number]
        known = sorted({str(one.body.get("name")) for one in self.entries if one.kind == "baseline"})
        names = (
            f" Baselines: {', '.join(known)}."
            if known
            else " It has no baseline; `pillm bench --save-baseline NAME` makes one."
        )
        raise DataError(f"the history holds no measurement {name!r}. It has {len(measured)}, by number or `last`.{names}")


class History:
    """A history file."""

    def __init__(self, path: Path | str) -> None:
        """Name the file; it is made when something is appended."""
        self.path = Path(path)
        self.quarantined: Path | None = None
        """Where a damaged file was moved."""

    def read(self) -> Contents:
        """Return what the file holds; nothing is changed, and a damaged line is told and passed over."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return Contents(entries=())
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error.strerror}. Choose another --history.") from error
        return _contents(data)

    def append(self, kind: Kind, body: Mapping[str, object]) -> int:
        """Append an entry durably and return its number; a damaged file is moved aside first, and its good lines go on.

        Raises StorageError where it cannot be written, Unavailable where another process holds it for long, DataError for a
        file that was never a history: it is left alone.
        """
        self.check()
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._held():
                found = self.read()
                if found.damaged:
                    self._quarantine(found)
                number = max((one.sequence for one in found.entries), default=0) + 1
                at = datetime.now(UTC).isoformat(timespec="milliseconds")
                line: JSONObject = {"sequence": number, "kind": kind, "at": at, "body": dict(body)}
                self._write(_written(line))
        return number

    def check(self) -> None:
        """Raise DataError where the file is there and was never a history."""
        if self.read().foreign:
            raise DataError(f"{self.path} is no history of measurements, and it is left alone. Choose another --history.")

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the history for this process, waiting a little for another one; death frees it."""
        with self.path.with_name(f".{self.path.name}.lock").open("a") as file:
            ends = time.monotonic() + _PATIENCE
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > ends:
                        raise Unavailable(f"{self.path} is held by another process. Run the same command again.") from error
                    time.sleep(0.02)
            yield

    def _write(self, line: bytes) -> None:
        new = not self.path.exists()
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            while line:
                line = line[os.write(handle, line) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        if new:
            fsync_folder(self.path.parent)

    def _quarantine(self, found: Contents) -> None:
        """Keep the damaged file whole under another name, and put one with its good lines in its place."""
        for number in range(1, 10_000):
            aside = self.path.with_name(f"{self.path.stem}.damaged-{number}{self.path.suffix}")
            try:
                os.link(self.path, aside)
            except FileExistsError:
                continue
            with replacing(self.path) as part:
                part.write_bytes(b"".join(found.lines))
            self.quarantined = aside
            return
        raise StorageError(f"{self.path} is damaged, and 9999 damaged ones stand beside it already. Move them away.")


def _written(line: JSONObject) -> bytes:
    # the checksum is of the very bytes that stand before it, closed by the brace
    text = json.dumps(line, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return text[:-1] + _seal(text) + b"\n"


def _seal(text: bytes) -> bytes:
    return f', "checksum": "{hashlib.sha256(text).hexdigest()}"}}'.encode()


def _contents(data: bytes) -> Contents:
    entries: list[Entry] = []
    lines, damaged = [], []
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        try:
            entry = _entry(line)
            if entries and entry.sequence <= entries[-1].sequence:
                raise ValueError(f"its number {entry.sequence} is not above that of the line before")
        except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
            damaged.append((number, str(error)))
            continue
        entries.append(entry)
        lines.append(line)
    # whatever befell it, some line of a history still looks like one; a disk that lost power leaves zeros
    foreign = not entries and bool(data.strip(b"\0 \r\n")) and not any(mark in data for mark in _MARKS)
    return Contents(entries=tuple(entries), damaged=tuple(damaged), lines=tuple(lines), foreign=foreign)


def _entry(line: bytes) -> Entry:
    if not line.endswith(b"\n"):
        raise ValueError("it is cut off")
    text = line[: -1 - _SEAL] + b"}"
    if line[-1 - _SEAL : -1] != _seal(text):
        raise ValueError("its checksum is missing, or another's")
    found = parse_json(text.decode("utf-8"))
    sequence, kind, at, body = found["sequence"], found["kind"], found["at"], found["body"]
    if isinstance(sequence, bool) or not isinstance(sequence, int) or kind not in _KINDS or not isinstance(body, dict):
        raise ValueError("it is no entry")
    if kind == "measured" and not isinstance(body.get("record"), dict):
        raise ValueError("it holds no record")
    return Entry(sequence=sequence, kind=kind, at=str(at), body=body)
