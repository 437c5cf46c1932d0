"""Gates on a measurement, such as `tg_tps>=8`, `peak_memory<=900MB`, `tg_tps>=0.95 of baseline` or `exact>=0.9`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from pillm.errors import ConfigError, did_you_mean
from pillm.performance.benchmark import Benchmark
from pillm.performance.comparing import ENOUGH
from pillm.performance.figures import BYTES, FIGURES, ONCE, OPTIONS, share, times_planned, told
from pillm.performance.medians import Median
from pillm.wording import size

if TYPE_CHECKING:
    from pillm.performance.benchmark import BenchPlan

Outcome: TypeAlias = Literal["met", "failed", "unsure", "unknown"]
Unsure: TypeAlias = Literal["pass", "fail"]
"""What becomes of a gate of which nobody can be sure."""
_NUMBER = r"([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"
_FORM = re.compile(rf"\s*([\w.]+)\s*(>=|<=)\s*{_NUMBER}\s*([kKMGT]i?B|B|ms|s)?(\s+of\s+baseline)?\s*")
_UNITS = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2.0**10, "kiB": 2.0**10, "MiB": 2.0**20,
          "GiB": 2.0**30, "TiB": 2.0**40, "ms": 1.0, "s": 1000.0}  # fmt: skip
_WORDS = ("not", "once", "twice")
_LEAST = 0.001
"""In a gate's unit; what is less is said in its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One demand: a figure at least or at most a number, or a share of the baseline's."""

    figure: str
    sign: Literal[">=", "<="]
    number: float
    of_baseline: bool = False
    unit: str = ""
    text: str = ""

    def __str__(self) -> str:
        return self.text

    @property
    def is_quality(self) -> bool:
        """Return whether the figure is a metric's and not a measurement's."""
        return self.figure not in FIGURES

    def told(self, value: float) -> str:
        """Return a value of the figure as text, in the unit of the gate."""
        if self.of_baseline:
            return f"{value:.4g}"
        counted = value / _UNITS.get(self.unit, 1.0)
        if self.unit and (not value or abs(counted) >= _LEAST):
            return f"{_plain(counted)} {self.unit}"
        if self.figure in BYTES:
            return size(round(value))
        return _plain(value) + (" ms" if self.figure in OPTIONS else "")


def _plain(value: float) -> str:
    """Return a number with four digits, or with all that stand before its point."""
    return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


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
    of_bytes, of_time = figure in BYTES, figure in OPTIONS
    if unit and (relative or not (of_bytes or of_time) or (unit in ("ms", "s")) != of_time):
        raise ConfigError(f"--gate {text!r}: {figure} has no unit {unit!r} here. Leave it out.")
    value = float(number) * (_UNITS[unit] if unit else 1.0)
    words = " ".join(text.split())
    return Demand(figure=figure, sign=sign, number=value, of_baseline=bool(relative), unit=unit or "", text=words)  # type: ignore[arg-type]


def check_figures(demands: Sequence[Demand], metrics: Collection[str] | None, *, baseline: bool) -> None:
    """Raise ConfigError for a demand that could not be checked, before anything is timed; `metrics` were scored elsewhere."""
    for one in demands:
        known = [*FIGURES, *(metrics or ())]
        if one.figure == ONCE and ONCE not in known:
            raise ConfigError(
                f"--gate {one}: {ONCE} is what the program took to load the file, and it is timed once. A gate may be on "
                "load_cold_ms or load_warm_ms, another thing: from starting what runs the file to its first token."
            )
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


def check_planned(demands: Sequence[Demand], plan: BenchPlan) -> None:
    """Raise ConfigError for a demand on what a plan times not at all, or too seldom for the demand ever to fail."""
    for one in demands:
        count = ENOUGH if one.is_quality else times_planned(one.figure, plan)
        if count >= ENOUGH:
            continue
        option = OPTIONS.get(one.figure, "")
        if not count:
            rows = " with rows that have a schema" if "constrained" in one.figure else ""
            raise ConfigError(f"{one}: {one.figure} is timed with {option}{rows} alone. Add it.")
        more = {"--prompts": f"Give {ENOUGH} rows or more", "--wide": f"Give --repetitions {ENOUGH + 1} or more"}
        remedy = more.get(option, f"Give --repetitions {ENOUGH} or more")
        raise ConfigError(f"{one}: what is timed {_WORDS[count]} says nothing of chance, so it could never fail. {remedy}.")


def check_demand(
    demand: Demand,
    record: Benchmark,
    *,
    baseline: Benchmark | None = None,
    scores: Mapping[str, Median] | None = None,
    unsure: Unsure = "pass",
) -> Checked:
    """Return whether a demand is met: it fails only where the whole 95 % interval is on the wrong side of the bound.

    What was timed once or twice says nothing of chance, and then nothing is sure either way; `unsure` says what comes of that.
    """
    found, count = _found(demand, record, baseline, scores)
    if found is None:
        missing = "was not scored of this file" if demand.is_quality else "was not measured"
        return Checked(demand=str(demand), outcome="unknown", sentence=f"{demand}: {demand.figure} {missing}.")
    at_least = demand.sign == ">="
    good = (found.value >= demand.number, found.value <= demand.number)[not at_least]
    hopeless = found.high < demand.number if at_least else found.low > demand.number
    sure = found.low >= demand.number if at_least else found.high <= demand.number
    outcome: Outcome = "failed" if hopeless else "met" if sure or (good and found.low == found.high) else "unsure"
    why = "the interval includes the bound"
    if count < ENOUGH:
        outcome, why = "unsure", f"timed {_WORDS[count]}, and fewer than {ENOUGH} samples say nothing of chance"
    times = " times the baseline's" if demand.of_baseline else ""
    span = f" [{demand.told(found.low)}, {demand.told(found.high)}]" if found.low != found.high else ""
    tail = {"met": "met", "failed": "not met", "unsure": f"unsure: {why}, so it {unsure}{'s' if unsure == 'fail' else 'es'}"}
    sentence = f"{demand}: {demand.told(found.value)}{span}{times}: {tail[outcome]}."
    return Checked(demand=str(demand), outcome=outcome, sentence=sentence, value=found.value, low=found.low, high=found.high)


def _found(
    demand: Demand, record: Benchmark, baseline: Benchmark | None, scores: Mapping[str, Median] | None
) -> tuple[Median | None, int]:
    """Return the figure that a demand is on, and of how many samples it is."""
    if demand.is_quality:
        return (scores or {}).get(demand.figure), ENOUGH
    if demand.of_baseline:
        found = share(record, baseline, demand.figure) if baseline else None
    else:
        found = told(record, demand.figure)
    return found or (None, 0)
