"""What a file must keep to: bytes, memory, speed, and the score that it must keep."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pillm_llamacpp.choosing.front import Trial

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
    """The score, or the share of the F16 file's."""
    relative: bool = True
    """Whether `min_exact` is a share of the F16 file's score."""

    def least_score(self, exact: float | None) -> float | None:
        """Return the score that a file must reach, given the F16 file's; None where none is asked for or known."""
        if self.min_exact is None or exact is None:
            return None
        return self.min_exact * exact if self.relative else self.min_exact

    def misses(self, trial: Trial, exact: float | None = None) -> list[str]:
        """Return in words which limits a file does not keep to, and by what; empty: it keeps to all of them."""
        least = self.least_score(exact)
        missed = [*self.misses_device(trial.bytes, trial.ram, trial.tg_tps)]
        if least is not None and trial.score is None:
            missed.append(f"its score was not measured, needed {least:.3f}")
        elif least is not None and trial.score is not None and trial.score < least - 1e-9:
            missed.append(f"its score is {trial.score:.3f}, needed {least:.3f}")
        return missed

    def misses_device(self, size: int, ram: int, speed: float | None) -> list[str]:
        """Return which limits of bytes, memory and speed are not kept to."""
        missed = []
        if self.max_bytes is not None and size > self.max_bytes:
            missed.append(f"it has {size:,} bytes, allowed {self.max_bytes:,}")
        if self.max_ram is not None and ram > self.max_ram:
            missed.append(f"it takes {ram:,} bytes of memory, allowed {self.max_ram:,}")
        if self.min_tps is not None and (speed is None or speed < self.min_tps):
            known = "an unknown number of" if speed is None else f"{speed:g}"
            missed.append(f"it decodes {known} tokens per second, needed {self.min_tps:g}")
        return missed


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
