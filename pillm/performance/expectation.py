"""What was measured against what the planner foretold, and why they differ as far as the machine tells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pillm.performance.benchmark import Expected
from pillm.performance.preflight import BUSY, WARM_C
from pillm.performance.sensors import throttled_since_boot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillm.performance.benchmark import Benchmark

_AS_FORETOLD = 0.05
_SLOWER_CLOCK = 0.97


def against(record: Benchmark, expected: Expected) -> Expected:
    """Return the expectation with the ratios of what was measured and a sentence that says why."""
    if expected.elsewhere:
        told = f"the prediction is not for this machine ({expected.elsewhere}), so no share of it was reached or missed"
        return replace(expected, sentence=told)
    other = {name: what for name in ("pp", "tg") if (what := _otherwise(record, expected, name))}
    tg = None if "tg" in other else _ratio(record.tg_tps, expected.tg_tps)
    pp = None if "pp" in other else _ratio(record.pp_tps, expected.pp_tps)
    said = [f"{name} {share:.0%} of predicted" for name, share in (("decode", tg), ("prefill", pp)) if share is not None]
    if not said and other:
        told = f"the prediction is for {next(iter(other.values()))}, so no share of it was reached or missed"
        return replace(expected, sentence=told)
    if not said:
        return replace(expected, sentence=f"the planner foretells no speed for {expected.device}")
    shares = [share for share in (tg, pp) if share is not None]
    if min(shares) >= 1 - _AS_FORETOLD:
        return replace(expected, tg_ratio=tg, pp_ratio=pp, sentence=", ".join(said))
    reasons = list(_reasons(record)) or ["the machine tells no reason"]
    return replace(expected, tg_ratio=tg, pp_ratio=pp, sentence=f"{', '.join(said)}: {'; '.join(reasons)}")


def _otherwise(record: Benchmark, expected: Expected, name: str) -> str:
    """Return what else than was timed `pp` or `tg` was foretold for, or nothing; what is not known on a side is passed over."""
    if getattr(expected, f"{name}_tps") is None:
        return ""
    work, threads = getattr(expected, name), getattr(expected, f"{name}_threads")
    if work is not None and work != getattr(record, name):
        return f"{name}{work}, not {name}{getattr(record, name)}"
    if None not in (threads, record.threads) and threads != record.threads:
        return f"{threads} threads, not {record.threads}"
    return ""


def _ratio(measured: float, foretold: float | None) -> float | None:
    return round(measured / foretold, 4) if foretold and measured else None


def _reasons(record: Benchmark) -> Iterator[str]:
    """Yield what held the machine back, the surest first."""
    yield from record.void
    seen, readings = record.conditions, record.readings
    bits = [one.throttled for one in readings if one.throttled is not None]
    if bits and (since := throttled_since_boot(bits[0])):
        yield f"held back since it was started ({', '.join(since)})"
    clocks = [max(one.clocks_mhz) for one in readings if one.clocks_mhz]
    if seen is not None and seen.max_mhz and clocks and max(clocks) < _SLOWER_CLOCK * seen.max_mhz:
        yield f"its clock stayed at {max(clocks):.0f} of {seen.max_mhz:.0f} MHz"
    if seen is not None and seen.governor not in (None, "performance"):
        yield f"its governor is {seen.governor}"
    if seen is not None and seen.load is not None and seen.load >= BUSY:
        yield f"a load of {seen.load:.2f} before it began"
    heat = [one.temperature_c for one in readings if one.temperature_c is not None]
    if heat and heat[0] >= WARM_C:
        yield f"{heat[0]:.0f} °C before it began"
