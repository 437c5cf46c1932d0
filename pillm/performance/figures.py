"""The figures of a record that gates speak of: what each is counted in, how often a plan times it, and what a record says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pillm.performance.comparing import ENOUGH
from pillm.performance.medians import Median, median, ratio

if TYPE_CHECKING:
    from pillm.performance.benchmark import Benchmark, BenchPlan

SPEEDS = ("tg_tps", "pp_tps")
BYTES = ("peak_memory", "bytes")
ONCE = "load_ms"
"""It is timed once in a measurement, so that nobody can tell chance from it."""
ENERGY = ("joules_per_token",)
OPTIONS = {
    "ttft_ms": "",
    "inter_token_ms": "",
    "inter_token_p95_ms": "",
    "ttft_prefix_ms": "--wide",
    "load_cold_ms": "--wide",
    "load_warm_ms": "--wide",
    "answer_ttft_ms": "--prompts",
    "answer_ttft_cached_ms": "--prompts",
    "answer_ttft_constrained_ms": "--prompts",
    "inter_token_free_ms": "--prompts",
    "inter_token_free_p95_ms": "--prompts",
    "inter_token_constrained_ms": "--prompts",
    "inter_token_constrained_p95_ms": "--prompts",
    "embed_ms": "--embed",
    "sustained_first_ms": "--sustained",
    "sustained_last_ms": "--sustained",
}
"""Times in milliseconds, and the option of `pillm bench` that asks for each; none: it is always timed."""
COUNTED = (*BYTES, *ENERGY)
"""What has no samples: it is counted, or reckoned over the whole work."""
FIGURES = (*SPEEDS, *OPTIONS, *COUNTED)


def times_planned(name: str, plan: BenchPlan) -> int:
    """Return how often a plan times a figure; of what comes with every token it is enough to be timed at all."""
    if name in COUNTED:
        return ENOUGH
    held = sum(prompt.schema is not None for prompt in plan.prompts)
    rows = held if "constrained" in name else len(plan.prompts)
    counts = {
        "ttft_prefix_ms": plan.repetitions - 1 if plan.prefix else 0,  # the first time the prefix is read, not put back
        "load_cold_ms": plan.loads,
        "load_warm_ms": plan.loads,
        "embed_ms": len(plan.texts),
        "sustained_first_ms": ENOUGH if plan.sustained else 0,
        "sustained_last_ms": ENOUGH if plan.sustained else 0,
    }
    if name in counts:
        return counts[name]
    if name.startswith("answer_"):
        return rows
    if name.startswith(("inter_token_free", "inter_token_constrained")):
        return ENOUGH if rows else 0
    return plan.repetitions


def told(record: Benchmark, name: str) -> tuple[Median, int] | None:
    """Return a figure of a record, and of how many samples it is; None where it was not measured."""
    samples = samples_of(record, name)
    if samples:
        return median(samples), ENOUGH if name in COUNTED else len(samples)
    # a percentile has no samples, and those of a median of very many are not kept
    found = record.times.get(name)
    return (found, ENOUGH) if found is not None else None


def share(record: Benchmark, base: Benchmark, name: str) -> tuple[Median, int] | None:
    """Return how many times the base's a figure is, and of how many samples on the side that has fewer."""
    left, right = told(record, name), told(base, name)
    if left is None or right is None or right[0].value <= 0:
        return None
    count = min(left[1], right[1])
    (one, _), (other, _) = left, right
    if one.samples and other.samples and min(other.samples) > 0:
        return ratio(one.samples, other.samples), count
    if min(other.low, other.high) <= 0:
        return None
    return Median(value=one.value / other.value, low=one.low / other.high, high=one.high / other.low), count


def samples_of(record: Benchmark, name: str) -> Sequence[float]:
    """Return the samples of a figure; the figure alone where it is counted or none were kept."""
    if name in SPEEDS:
        return record.speeds(name)
    if name in ENERGY:
        value = record.energy.get(name)
    elif name in record.times:
        return record.times[name].samples
    else:
        value = getattr(record, name, None)
    return () if value is None else (float(value),)
