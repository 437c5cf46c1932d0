"""The stream of progress events: stages and backends write it, bars, plain lines and `events.jsonl` read it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

EVENT_VERSION = 1
EventKind: TypeAlias = Literal["start", "advance", "note", "warning", "finish", "up-to-date"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened: `done` of `total` `unit`s, with figures such as loss or tokens per second."""

    kind: EventKind
    stage: str
    at: str
    done: int = 0
    total: int | None = None
    unit: str = "rows"
    message: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    version: int = EVENT_VERSION


Reader: TypeAlias = Callable[[Event], None]


class Progress:
    """Writes the events of one stage to every reader; silent where there is none.

    A backend calls `start(total, unit)`, `advance(n, loss=...)`, `note(text)` and `warn(text)`; the stage that
    made the object writes `finish`.
    """

    def __init__(self, stage: str = "", readers: tuple[Reader, ...] = ()) -> None:
        self.stage = stage
        self._readers = readers
        self._done = 0
        self._total: int | None = None
        self._unit = "rows"

    def start(self, total: int | None = None, unit: str = "rows", message: str = "") -> None:
        """Announce work of `total` units; a stage may have several such phases."""
        self._done, self._total, self._unit = 0, total, unit
        self._send("start", message)

    def advance(self, by: int = 1, **figures: float) -> None:
        """Report that `by` more units are done."""
        self._done += by
        self._send("advance", figures=figures)

    def note(self, message: str) -> None:
        """Say something that a person wants to know."""
        self._send("note", message)

    def warn(self, message: str) -> None:
        """Say something that a person should act on."""
        self._send("warning", message)

    def finish(self, message: str = "", **figures: float) -> None:
        """Announce that the stage is done."""
        self._send("finish", message, figures=figures)

    def up_to_date(self, message: str = "up to date") -> None:
        """Announce that the stage's result stands already."""
        self._send("up-to-date", message)

    def for_stage(self, stage: str) -> Progress:
        """Return a progress for another stage with the same readers."""
        return Progress(stage, self._readers)

    def with_reader(self, reader: Reader) -> Progress:
        """Return a progress for the same stage with one more reader."""
        return Progress(self.stage, (*self._readers, reader))

    def _send(self, kind: EventKind, message: str = "", figures: dict[str, float] | None = None) -> None:
        if not self._readers:
            return
        event = Event(
            kind=kind,
            stage=self.stage,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            done=self._done,
            total=self._total,
            unit=self._unit,
            message=message,
            figures=figures or {},
        )
        for reader in self._readers:
            reader(event)


@contextmanager
def events_file(path: Path, *, every: float = 0.5) -> Iterator[Reader]:
    """Open a reader that appends events to a JSONL file, `advance` with the same figures at most once in `every` seconds.

    One without figures says no more than how far the work is: it waits ten times as long, after whatever was written.
    """
    last: dict[frozenset[str], float] = {frozenset(): 0.0}
    with path.open("a", encoding="utf-8") as file:

        def write(event: Event) -> None:
            now, what = time.monotonic(), frozenset(event.figures)
            pause = every if what else 10 * every
            if event.kind == "advance" and now - last.get(what, -math.inf) < pause and event.done != event.total:
                return
            last[what if event.kind == "advance" else frozenset()] = last[frozenset()] = now
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")
            file.flush()

        yield write
