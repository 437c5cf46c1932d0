"""Read what EasyDistill's training prints: the loss, how far it is, and what it died of."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, field

import pillm

_FIGURE = re.compile(r"'(loss|grad_norm|learning_rate|epoch)': '?([-+.\w]+)'?")
_REMARK = re.compile(r".* - (?:INFO|WARNING) - ([^'{}]+)$")
_CAUSE = re.compile(r"((?:\w+\.)*\w*(?:Error|Exception|Interrupt)(?:: .+)?|Training job terminated: .+)$")
_ECHOES = ("Detected error in output", "Command failed", "CalledProcessError", "ChildFailedError")
"""What version 1 says of harmless lines too, and what accelerate says of a child that has told its own cause."""

_KEPT = 200


@dataclass(slots=True)
class TrainLog:
    """Follows a training line by line; `steps` is how many optimiser steps are expected in `epochs` epochs.

    No word in a line is a verdict: version 1 takes any line with "error", "failed" or "exception" for a failure.
    """

    progress: pillm.Progress
    steps: int
    epochs: int
    entries: list[dict[str, float]] = field(default_factory=list)
    _last: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _done: int = 0

    def read(self, line: str) -> None:
        """Take a line; raise BackendError where it reports a loss that is not a number."""
        self._last.append(line)
        figures = dict(_FIGURE.findall(line)) if "'loss'" in line else {}
        if figures:
            self._report({name: float(value) for name, value in figures.items()})
        elif remark := _REMARK.match(line):
            self.progress.note(f"EasyDistill: {remark[1].strip()[:200]}")

    def cause(self) -> str:
        """Return the line that most likely says why a training ended, or an empty string."""
        lines = [line for line in self._last if not any(echo in line for echo in _ECHOES)]
        found = next((found for line in reversed(lines) if (found := _CAUSE.search(line.rstrip()))), None)
        return found[1][:300] if found else ""

    def _report(self, figures: dict[str, float]) -> None:
        loss = figures.get("loss", math.nan)
        if not math.isfinite(loss):
            raise pillm.BackendError(
                f"the loss is {loss} after {self._done} of {self.steps} steps; EasyDistill was stopped and nothing was saved. "
                "Lower learning_rate and train again."
            )
        done = min(self.steps, round(figures.get("epoch", 0.0) / self.epochs * self.steps))
        self.entries.append({"step": done, **figures})
        shown = {name: value for name, value in figures.items() if name in ("loss", "learning_rate")}
        self.progress.advance(max(0, done - self._done), **shown)
        self._done = max(done, self._done)
