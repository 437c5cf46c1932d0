"""What a file must keep to: bytes, memory, speed, and the score that it must keep."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pillm_llamacpp.choosing.front import Trial

EXACT = "exact"
"""The metric that `min_exact` is about."""
_SCORE = re.compile(r"\s*(0?\.[0-9]+|[01](?:\.[0-9]*)?)\s*(of\s+F16)?\s*", re.IGNORECASE)
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(B|kB|MB|GB|KiB|MiB|GiB)?\s*")
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The budget of a choice; None: any will do."""

    max_bytes: int | None = None
    """Of the file."""
    max_ram: int | None = None
    """Bytes on the device with the profile's context: weights, cache, buffers and runtime; never more than it has free."""
    min_tps: float | None = None
    """Decoded tokens per second on the device."""
    min_exact: float | None = None
    """The share of validation rows that are answered exactly, or the share of the F16 file's."""
    relative: bool = True
    """Whether `min_exact` is a share of the F16 file's score."""

    @property
    def has_budget(self) -> bool:
        """Return whether bytes, memory or speed are limited."""
        return any(limit is not None for limit in (self.max_bytes, self.max_ram, self.min_tps))

    def least_score(self, exact: float | None) -> float | None:
        """Return the score that a file must reach, given the F16 file's; None where none is asked for or known."""
        if self.min_exact is None or exact is None:
            return None
        return self.min_exact * exact if self.relative else self.min_exact

    def misses(self, trial: Trial, exact: float | None = None) -> list[str]:
        """Return in words which limits a file does not keep to, and by what; empty: it keeps to all of them."""
        return [said for said, _ in self._missed(trial, exact)]

    def shortfall(self, trial: Trial, exact: float | None = None) -> float:
        """Return how far a file is from keeping to the limits: logarithms of needed to had, added up; 0: it keeps to them."""
        return sum(math.log(factor) for _, factor in self._missed(trial, exact))

    def misses_device(self, size: int, ram: int, speed: float | None) -> list[str]:
        """Return which limits of bytes, memory and speed are not kept to."""
        return [said for said, _ in self._missed_device(size, ram, speed)]

    def asked(self) -> str:
        """Return in words what was asked for; empty where nothing was."""
        told = []
        if self.min_exact is not None:
            told.append(f"a score of at least {self.min_exact:g}{' of F16' if self.relative else ''}")
        if self.max_bytes is not None:
            told.append(f"at most {self.max_bytes / 1e6:g} MB")
        if self.max_ram is not None:
            told.append(f"at most {self.max_ram / 1e6:g} MB of memory")
        if self.min_tps is not None:
            told.append(f"at least {self.min_tps:g} tokens per second")
        return ", ".join(told)

    def _missed(self, trial: Trial, exact: float | None) -> Iterator[tuple[str, float]]:
        yield from self._missed_device(trial.bytes, trial.ram, trial.tg_tps)
        least = self.least_score(exact)
        if least == 0 and self.relative and self.min_exact:
            yield "the F16 file itself answers no validation row exactly, so min_exact says nothing: leave it out", math.inf
        if least is not None and trial.exact is None:
            yield f"its score was not measured, needed {least:.3f}", math.inf
        elif least is not None and trial.exact is not None and trial.exact < least - 1e-9:
            yield f"its score is {trial.exact:.3f}, needed {least:.3f}", least / max(trial.exact, 1e-9)

    def _missed_device(self, size: int, ram: int, speed: float | None) -> Iterator[tuple[str, float]]:
        if self.max_bytes is not None and size > self.max_bytes:
            yield f"it has {size:,} bytes, allowed {self.max_bytes:,}", size / self.max_bytes
        if self.max_ram is not None and ram > self.max_ram:
            yield f"it takes {ram:,} bytes of memory, allowed {self.max_ram:,}", ram / self.max_ram
        if self.min_tps is not None and speed is None:
            yield f"it decodes an unknown number of tokens per second, needed {self.min_tps:g}", math.inf
        elif self.min_tps is not None and speed is not None and speed < self.min_tps:
            yield f"it decodes {speed:g} tokens per second, needed {self.min_tps:g}", self.min_tps / max(speed, 1e-9)


def parse_score(value: Any) -> tuple[float, bool]:
    """Return the number of `0.98 of F16` or `0.9`, and whether it is a share; raise ValueError for any other form."""
    match = None if isinstance(value, bool) else _SCORE.fullmatch(str(value))
    if match is None or not 0 < float(match[1]) <= 1:
        raise ValueError(f"{value!r} is not understood; write '0.98 of F16', or the score alone, such as 0.9")
    return float(match[1]), match[2] is not None


def parse_size(value: Any) -> int:
    """Return the bytes of `1.5 GB`, `300 MiB` or a number; raise ValueError for any other form."""
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value))
    if match is None or float(match[1]) * _UNITS[match[2] or "B"] < 1:
        raise ValueError(f"{value!r} is no size; write bytes, or a number with kB, MB, GB, KiB, MiB or GiB")
    return int(float(match[1]) * _UNITS[match[2] or "B"])
