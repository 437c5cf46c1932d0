"""What is written down of a training while it runs; a checkpoint takes it along."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(slots=True)
class Log:
    """The loss at each logging step and each validation, where the training stands in its data, and the sums."""

    entries: list[dict[str, float]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    epoch: int = 0
    """Epochs that are done."""
    group: int = 0
    """Optimiser steps of the current epoch that are done."""
    steps: int = 0
    tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    """Of all runs that this training took."""
    loss: float = 0.0
    """Summed since the last entry, in nats, over so many answer tokens:"""
    loss_tokens: int = 0
    parts: dict[str, list[float]] = field(default_factory=dict)
    """What a loss of several parts is made of, since the last entry: each one's sum, and over how many places."""
    best: dict[str, Any] | None = None
    """Step and loss of the best validation, and the file that holds its weights."""
    stale: int = 0
    """Validations since the best one."""
    stopped_early: bool = False

    @property
    def mean_loss(self) -> float:
        """Return the loss per answer token since the last entry, in nats."""
        return self.loss / self.loss_tokens if self.loss_tokens else math.nan

    @property
    def first_loss(self) -> float | None:
        """Return the loss on the labels of the first entry, or None."""
        return self.entries[0].get("cross_entropy", self.entries[0]["loss"]) if self.entries else None

    def count(self, loss: float, answer_tokens: int, tokens: int) -> None:
        """Count an optimiser step."""
        self.steps += 1
        self.group += 1
        self.loss += loss
        self.loss_tokens += answer_tokens
        self.answer_tokens += answer_tokens
        self.tokens += tokens

    def count_parts(self, parts: Mapping[str, tuple[float, int]]) -> None:
        """Count the parts of a batch's loss."""
        for name, (total, places) in parts.items():
            before = self.parts.get(name, [0.0, 0])
            self.parts[name] = [before[0] + total, before[1] + places]

    def enter(self, **more: float) -> dict[str, float]:
        """Append an entry with the mean loss since the last one, and return it."""
        parts = {name: total / places for name, (total, places) in self.parts.items() if places}
        entry = {"step": self.steps, "loss": self.mean_loss, **parts, **more}
        self.entries.append(entry)
        self.loss, self.loss_tokens, self.parts = 0.0, 0, {}
        return entry

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` returned."""
        return cls(**value)
