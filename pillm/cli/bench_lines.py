"""A record as lines for a person: the headline, what else was timed, and what weakens it."""

from __future__ import annotations

from pillm.performance.benchmark import Benchmark
from pillm.performance.medians import Median

_TITLES = {
    "load_cold_ms": "start to first token, from disk",
    "load_warm_ms": "start to first token, from memory",
    "answer_ttft_constrained_ms": "answer ttft constrained",
}


def lines_of(record: Benchmark, kept: str = "It is kept.") -> list[str]:
    """Return the lines; `kept` says what becomes of a record that is void."""
    lines = [str(record)]
    figures = {one.name: f"{_shown(one.speed)} t/s" for one in record.points[2 if record.tg else 1 :]}
    if record.load_ms is not None:
        figures["load"] = f"{record.load_ms:.4g} ms, once"
    figures |= {_title(name): f"{_shown(one)} ms" for name, one in record.times.items()}
    if record.peak_memory:
        figures["peak memory"] = f"{record.peak_memory / 1e6:.1f} MB"
    figures |= {name.replace("_", " "): f"{value:.3g}" for name, value in record.energy.items()}
    width = max(map(len, figures), default=0)
    lines += [f"  {name:{width}}  {told}" for name, told in figures.items()]
    if record.expected:
        lines.append(f"  on {record.expected.device}: {record.expected.sentence}.")
    lines += [f"  not measured: {name}: {reason}" for name, reason in record.not_measured.items()]
    lines += [f"  disturbed: {part}: {'; '.join(reasons)}." for part, reasons in record.disturbed.items()]
    lines += [f"  void: {reason}. {kept} It is never compared." for reason in record.void]
    return lines


def _title(name: str) -> str:
    return _TITLES.get(name) or name.removesuffix("_ms").replace("_", " ")


def _shown(one: Median) -> str:
    spread = "" if one.low == one.high else f" [{one.low:.4g}, {one.high:.4g}]"
    return f"{one.value:.4g}{spread}"
