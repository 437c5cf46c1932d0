"""What benchmarks share: alternating timing, the machine, and the line that each figure becomes."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Result:
    """One figure: pillm's and its peer's, their ratio, the goal if there is one, and what bounds it."""

    benchmark: str
    pillm: float
    peer: float
    unit: str
    goal: float | None
    better: Literal["higher", "lower"]
    peer_is: str
    limit: str
    """What keeps the figure from being better."""
    versions: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Return pillm's figure over the peer's."""
        return self.pillm / self.peer

    @property
    def met(self) -> bool | None:
        """Return whether the ratio is at least as good as the goal; None where there is no goal."""
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.better == "lower" else self.ratio >= self.goal

    def to_json(self) -> dict[str, Any]:
        """Return the line of `results.jsonl`."""
        first = {
            "benchmark": self.benchmark,
            "ratio": round(self.ratio, 4),
            "better": self.better,
            "goal": self.goal,
            "met": self.met,
        }
        rest = {name: value for name, value in asdict(self).items() if name not in first}
        return {**first, **rest, "machine": machine(), "versions": {**versions(), **self.versions}}


def seconds_of(command: Sequence[str]) -> float:
    """Return how long a command takes, its output thrown away; raise where it fails."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def alternating(measure: dict[str, Callable[[], float]], times: int) -> dict[str, float]:
    """Return the median of each measurement, taken in turns so that a busy moment hits all alike; one round warms up."""
    found: dict[str, list[float]] = {name: [] for name in measure}
    for each in range(times + 1):
        for name, take in measure.items():
            taken = take()
            if each:
                found[name].append(taken)
    return {name: statistics.median(taken) for name, taken in found.items()}


def machine() -> dict[str, Any]:
    """Return what the figures depend on, without a name that says whose machine it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": _cpu(), "cores": os.cpu_count(), "memory_gib": round(memory / 1024**3, 1), "system": platform.system()}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def versions() -> dict[str, str]:
    """Return the versions that every figure depends on."""
    return {"python": platform.python_version(), "pillm": importlib.metadata.version("pillm")}
