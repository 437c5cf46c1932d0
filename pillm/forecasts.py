"""What a training or an export will take, before anything is trained or exported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingForecast:
    """What a training will take on this machine: nothing was trained."""

    rows: int
    """Rows that are learnt from; those that are left out are not among them."""
    steps: int
    """Optimiser steps of all epochs."""
    tokens: int
    """Tokens that are read in all epochs, padding not counted."""
    memory_bytes: int | None = None
    """The most that the process will take at a time, of the GPU where it trains there; None where it cannot be told."""
    free_bytes: int | None = None
    seconds: float | None = None
    """None where it does not fit, or was not timed."""
    advice: str = ""
    """What to set where it does not fit, and what the trainer will do of its own accord."""

    @property
    def memory(self) -> str:
        """Return the memory that it takes, and how much is free, in words."""
        free = "" if self.free_bytes is None else f" ({self.free_bytes / 2**30:.1f} GiB are free)"
        took = "an unknown amount" if self.memory_bytes is None else f"{self.memory_bytes / 2**30:.1f} GiB"
        return f"{took} of memory{free}"

    @property
    def fits(self) -> bool:
        """Say whether the memory that is free now will do, as far as that is known."""
        return self.free_bytes is None or self.memory_bytes is None or self.memory_bytes <= self.free_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportForecast:
    """What an export will take at the most, where it tries more files than it ships: nothing was made."""

    files: int
    """That are made and measured."""
    tokens: int
    """That are read with all of them together."""
    disk_bytes: int
    """The most that lies on disk at a time, the file in full precision included."""
