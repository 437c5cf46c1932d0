"""Gates on a measurement, such as `tg_tps>=8`, `peak_memory<=900MB`, `tg_tps>=0.95 of baseline` or `exact>=0.9`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pillm.errors import ConfigError, did_you_mean
from pillm.performance.benchmark import Benchmark
from pillm.performance.comparing import ENOUGH
from pillm.performance.medians import Median, median, ratio

Outcome: TypeAlias = Literal["met", "failed", "unsure", "unknown"]
_NUMBER = r"([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"
_FORM = re.compile(rf"\s*([\w.]+)\s*(>=|<=)\s*{_NUMBER}\s*([kKMGT]i?B|B|ms|s)?(\s+of\s+baseline)?\s*")
_UNITS = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2.0**10, "kiB": 2.0**10, "MiB": 2.0**20,
          "GiB": 2.0**30, "TiB": 2.0**40, "ms": 1.0, "s": 1000.0}  # fmt: skip
_BYTES, _TIMES = ("peak_memory", "bytes"), ("ttft_ms", "load_ms", "load_cold_ms", "load_warm_ms")
FIGURES = ("tg_tps", "pp_tps", *_TIMES, *_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One demand: a figure at least or at most a number, or a share of the baseline's."""

    figure: str
    sign: Literal[">=", "<="]
    number: float
    of_baseline: bool = False
    text: str = ""

    def __str__(self) -> str:
        return self.text

    @property
    def is_quality(self) -> bool:
        """Return whether the figure is a metric's and not a measurement's."""
        return self.figure not in FIGURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A demand, the figure that met it or not, and how sure that is."""

    demand: str
    outcome: Outcome
    sentence: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


def parse_demand(text: str) -> Demand:
    """Return a demand that is written as text; raise ConfigError where it is not understood."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"--gate {text!r} is not understood. Write e.g. 'tg_tps>=8', 'peak_memory<=900MB', 'tg_tps>=0.95 of baseline'."
        )
    figure, sign, number, unit, relative = match.groups()
    of_bytes, of_time = figure in _BYTES, figure in _TIMES
    if unit and (relative or not (of_bytes or of_time) or (unit in ("ms", "s")) != of_time):
        raise ConfigError(f"--gate {text!r}: {figure} has no unit {unit!r} here. Leave it out.")
    value = float(number) * (_UNITS[unit] if unit else 1.0)
    return Demand(figure=figure, sign=sign, number=value, of_baseline=bool(relative), text=" ".join(text.split()))  # type: ignore[arg-type]


def check_figures(demands: Sequence[Demand], metrics: Collection[str] | None, *, baseline: bool) -> None:
    """Raise ConfigError for a demand that could not be checked, before anything is timed; `metrics` were scored elsewhere."""
    for one in demands:
        known = [*FIGURES, *(metrics or ())]
        if one.is_quality and one.figure not in known:
            near = did_you_mean(one.figure, known)
            quality = "" if metrics is not None else " A metric's figure comes from --evaluation FILE."
            raise ConfigError(
                f"--gate {one}: no figure is called {one.figure!r}.{near} Figures are: {', '.join(known)}.{quality}"
            )
        if one.of_baseline and one.is_quality:
            raise ConfigError(f"--gate {one}: a metric takes a number alone; baselines hold no scores.")
        if one.of_baseline and not baseline:
            raise ConfigError(f"--gate {one}: there is no baseline. Give --baseline RECORD or the name of one in the history.")


def check_demand(
    demand: Demand, record: Benchmark, *, baseline: Benchmark | None = None, scores: Mapping[str, Median] | None = None
) -> Checked:
    """Return whether a demand is met: it fails only where the whole 95 % interval is on the wrong side of the bound.

    What was timed once or twice says nothing of chance, and then nothing is sure either way.
    """
    found = (scores or {}).get(demand.figure) if demand.is_quality else _figure(record, demand.figure)
    if found is not None and demand.of_baseline:
        base = _samples(baseline, demand.figure) if baseline else ()
        found = ratio(_samples(record, demand.figure), base) if base else None
    if found is None:
        return Checked(demand=str(demand), outcome="unknown", sentence=f"{demand}: {demand.figure} was not measured.")
    at_least = demand.sign == ">="
    good = (found.value >= demand.number, found.value <= demand.number)[not at_least]
    hopeless = found.high < demand.number if at_least else found.low > demand.number
    sure = found.low >= demand.number if at_least else found.high <= demand.number
    outcome: Outcome = "failed" if hopeless else "met" if sure or (good and found.low == found.high) else "unsure"
    few = _too_few(demand, record, baseline)
    if few:
        outcome = "unsure"
    times = " times the baseline's" if demand.of_baseline else ""
    span = f" [{found.low:.4g}, {found.high:.4g}]" if found.low != found.high else ""
    why = f"timed {few}, and fewer than {ENOUGH} samples say nothing of chance" if few else "the interval includes the bound"
    tail = {"met": "met", "failed": "not met", "unsure": f"unsure: {why}, so it passes", "unknown": ""}
    sentence = f"{demand}: {found.value:.4g}{span}{times}: {tail[outcome]}."
    return Checked(demand=str(demand), outcome=outcome, sentence=sentence, value=found.value, low=found.low, high=found.high)


def _too_few(demand: Demand, record: Benchmark, baseline: Benchmark | None) -> str:
    """Return how seldom a figure was timed, where that is too seldom to say anything; empty where it is not, or is counted."""
    if demand.is_quality or demand.figure in _BYTES:
        return ""
    sides = [record, baseline] if demand.of_baseline and baseline else [record]
    count = min(len(_samples(one, demand.figure)) for one in sides)
    return "" if count >= ENOUGH else ("not", "once", "twice")[count]


def _figure(record: Benchmark, name: str) -> Median | None:
    samples = _samples(record, name)
    return median(samples) if samples else None


def _samples(record: Benchmark, name: str) -> Sequence[float]:
    if name in ("tg_tps", "pp_tps"):
        return record.speeds(name)
    timed = record.times.get(name)
    if timed is not None and timed.samples:
        return timed.samples
    value = getattr(record, name, None)
    return () if value is None else (float(value),)
