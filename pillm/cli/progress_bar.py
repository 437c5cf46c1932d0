"""Show the stream of progress events: a bar with rate and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pillm.cli.sizes import size_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from pillm.progress import Event, Reader

PLAIN_SECONDS = 5.0
WINDOW_SECONDS = 60.0
READY_SECONDS = 0.2
"""What is reported done so soon was done before: rows that are answered already."""


FIGURES = {
    "loss": "loss {:.3g}",
    "cross_entropy": "cross-entropy {:.3g}",
    "tokens_per_second": "{:,.0f} tok/s",
    "memory_gib": "{:.1f} GiB",
    "validation_loss": "validation loss {:.3g}",
    "validation_accuracy": "validation accuracy {:.1%}",
    "learning_rate": "learning rate {:.3g}",
}
"""How figures are said, the ones that matter most first."""
SHOWN_ANYHOW = ("percent", "bytes_per_second")
"""Figures of a download that stand in the event for other readers: count and rate say them here."""
NARROW = 100
"""Columns of a terminal that has room for a short bar only."""


class Phase:
    """What is known of one phase: its last figures, and how fast it goes; what stood ready at its start counts for nothing."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._samples: deque[tuple[float, int]] = deque([(self._began, 0)])
        self._figures: dict[str, float] = {}

    def figures(self, event: Event) -> tuple[str, ...]:
        """Return the event's figures in words, and of the others what was last said of them."""
        self._figures |= event.figures
        return figures(self._figures)

    def pace(self, event: Event) -> tuple[str, ...]:
        """Return rate and remaining time as ("12.3 rows/s", "1:05 left"), as far as they are known."""
        now = time.monotonic()
        if now - self._began < READY_SECONDS:
            self._samples = deque([(now, event.done)])
            return ()
        if now - self._samples[-1][0] >= 1:
            self._samples.append((now, event.done))
        while len(self._samples) > 2 and now - self._samples[0][0] > WINDOW_SECONDS:
            self._samples.popleft()
        since, base = self._samples[0]
        rate = (event.done - base) / (now - since) if now > since else 0.0
        if rate <= 0:
            return ()
        said = () if "tokens_per_second" in self._figures else (_rate_text(rate, event.unit),)  # one rate is enough
        if event.total is None or event.done >= event.total:
            return said
        return (*said, f"{clock((event.total - event.done) / rate)} left")


def _rate_text(rate: float, unit: str) -> str:
    if unit == "bytes":
        return f"{size_text(rate)}/s"
    if rate < 0.5:
        return f"{1 / rate:.1f} s/{unit.removesuffix('s')}"
    return f"{rate:,.0f} {unit}/s" if rate >= 100 else f"{rate:.1f} {unit}/s"


def clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def count(event: Event) -> str:
    """Return what is done as "3/10 rows" or "1.2/4.8 GB (25 %)", or an empty text while nothing is."""
    if event.unit == "bytes" and event.total:
        done = size_text(event.done, event.total).partition(" ")[0]
        return f"{done}/{size_text(event.total)} ({100 * event.done // event.total} %)"
    if event.total is None:
        return f"{event.done:,} {event.unit}" if event.done else ""
    return f"{event.done:,}/{event.total:,} {event.unit}"


def figures(known: Mapping[str, float]) -> tuple[str, ...]:
    """Return figures in words, such as ("loss 0.123", "450 tok/s"), the ones that matter most first."""
    first = (said.format(known[name]) for name, said in FIGURES.items() if name in known)
    rest = (name for name in known if name not in FIGURES and name not in SHOWN_ANYHOW)
    others = (f"{name.replace('_', ' ')} {known[name]:.4g}" for name in rest)
    return (*first, *others)


class Lines:
    """Writes plain lines: every start and end, and an advance every few seconds."""

    def __init__(self, quiet: int = 0) -> None:
        self._quiet = quiet
        self._phase = Phase()
        self._stage_began: dict[str, float] = {}
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Write the event, if it is worth a line."""
        now = time.monotonic()
        self._stage_began.setdefault(event.stage, now)
        if event.kind == "start":
            self._phase, self._last = Phase(), now
        if event.kind == "advance" and now - self._last < PLAIN_SECONDS:
            self._phase.figures(event)
            self._phase.pace(event)
            return
        self._last = now
        line = self._line(event, now)
        if line and (self._quiet < 1 or (self._quiet == 1 and event.kind == "warning")):
            print(f"{event.stage}: {line}" if event.stage else line, file=sys.stderr, flush=True)

    def _line(self, event: Event, now: float) -> str:
        if event.kind == "start":
            size = "" if event.total is None else f"{event.total:,} {event.unit}"
            size = size_text(event.total) if event.total and event.unit == "bytes" else size
            return ", ".join(part for part in (event.message, size) if part)
        if event.kind == "advance":
            told = self._phase.figures(event)
            return ", ".join(part for part in (count(event), *self._phase.pace(event), *told) if part)
        if event.kind == "finish":
            took = f"done in {now - self._stage_began.pop(event.stage):.1f} s"
            return f"{took}: {said}" if (said := event.message or ", ".join(figures(event.figures))) else took
        return f"warning: {event.message}" if event.kind == "warning" else event.message


class Bar:
    """Draws the running phase as a bar; what is finished stays above it as a line."""

    def __init__(self, display: RichProgress, lines: Lines) -> None:
        self._display = display
        self._lines = lines
        self._phase = Phase()
        self._task: TaskID | None = None
        self._label = ""

    def __call__(self, event: Event) -> None:
        """Move the bar; everything but an advance also becomes a line above it."""
        if event.kind == "advance":
            self._advance(event)
            return
        if self._task is not None and event.kind in ("start", "finish", "up-to-date"):
            self._display.remove_task(self._task)
            self._task = None
        if event.kind == "start":
            self._phase = Phase()
            self._task = self._begin(event.stage + (f": {event.message}" if event.message else ""), event)
        self._lines(event)

    def _advance(self, event: Event) -> None:
        if self._task is None:
            self._task = self._begin(event.stage, event)
        told, pace, done = self._phase.figures(event), "  ".join(self._phase.pace(event)), count(event)
        columns = self._display.console.width
        room = columns - bar_width(columns) - len(f"{self._label} {done} {pace}  ")
        while told and len(", ".join(told)) > room:  # a figure is said whole or not at all, and never cuts the others short
            told = told[:-1]
        self._display.update(
            self._task, completed=event.done, total=event.total, count=done, pace=pace, figures=", ".join(told)
        )

    def _begin(self, label: str, event: Event) -> TaskID:
        self._label = label
        return self._display.add_task(label, total=event.total, count=count(event), pace="", figures="")


def bar_width(columns: int) -> int:
    """Return how long the bar itself is on a terminal of so many columns."""
    return 20 if columns >= NARROW else 10


@contextmanager
def shown(quiet: int = 0) -> Iterator[Reader]:
    """Give the reader that suits where stderr goes; `quiet` 1 leaves warnings, 2 leaves nothing."""
    if quiet > 0 or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Lines(quiet)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=bar_width(console.width)),
        TextColumn("{task.fields[count]}", markup=False),
        TextColumn("{task.fields[pace]}", markup=False),
        TextColumn("{task.fields[figures]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as display:
        yield Bar(display, Lines())
