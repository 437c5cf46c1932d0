"""Fit a device's speeds from a few timings made on it, and write them as a profile of one's own."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pillm.artifacts import DeviceFacts
from pillm.devices.quants import QUANTS
from pillm.devices.shapes import ModelShape
from pillm.devices.speed import KV_PAD, Load, load_of
from pillm.errors import BackendError

SHORT, LONG = 64, 256
"""Prompt tokens of the two timings of prefill, whose difference is the attention's."""
TG = 32
REACH = 4.0
"""A file so many times larger or smaller than the timed ones is still told without a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What one model file took: tokens per second of two prompts and of decode."""

    shape: ModelShape
    short_tps: float
    long_tps: float
    tg_tps: float


def calibrated_text(name: str, facts: DeviceFacts, timings: Sequence[Timing], *, threads: int, day: str) -> str:
    """Return the YAML of a profile that extends `name`, with what the timings show.

    Raises BackendError where the timings contradict each other.
    """
    rate, overhead = _decode(timings)
    cores, ghz = threads, facts.max_ghz or 1.0
    clock = "" if facts.max_ghz else "; the clock is not known, so cycles are nanoseconds"
    said = f"measured here, {day}, {threads} threads"
    attention, cycles = _prefill(timings, cores * ghz * 1e9)
    sizes = [one.shape.file_bytes / 1e6 for one in timings]
    fitted = f"{said}: files of {' and '.join(f'{size:.0f}' for size in sorted(sizes))} MB"
    lines = [
        "# Made by `pillm plan --calibrate`; measure again after a change of system, cooling or llama.cpp.\n",
        f"extends: {name}\n",
        f"title: {json.dumps(f'{facts.model or facts.cpu or name}, calibrated')}\n",
        *(_figure("ram_mib", facts.ram_mib, "a probe of the machine") if facts.ram_mib else ()),
        *_figure("cores", cores, f"{said}: the threads that were used"),
        *_figure("ghz", ghz, f"a probe of the machine{clock}"),
        *_figure("threads", threads, said),
        *_figure("threads_batch", threads, said),
        *_figure("bandwidth_gbps", rate / 1e9, fitted),
        *_figure("layer_ms", overhead * 1e3, fitted),
        *_figure("fitted_from_mb", min(sizes) / REACH, f"a {REACH:g}th of the smallest file"),
        *_figure("fitted_to_mb", max(sizes) * REACH, f"{REACH:g} times the largest file"),
        *_figure("attention_cycles", attention, f"{said}: prompts of {SHORT} and {LONG} tokens"),
        *_table("cycles", f"{said}; per weight and core", 3, cycles),
        *_table("cycles_estimated", "the mean of the types that were measured", 1, _guessed(cycles)),
    ]
    return "".join(lines)


def _decode(timings: Sequence[Timing]) -> tuple[float, float]:
    """Return bytes per second and seconds per layer that explain the files' decode, in least squares of relative errors."""
    points = [(_read(load_of(one.shape)) * one.tg_tps, one.shape.layers * one.tg_tps) for one in timings]
    alone = _through_zero([read for read, _ in points])
    if len(points) < 2:
        return 1 / alone, 0.0
    rr, rl, ll = (sum(a * b for a, b in pairs) for pairs in _products(points))
    sum_r, sum_l = sum(read for read, _ in points), sum(layers for _, layers in points)
    determinant = rr * ll - rl * rl
    if determinant <= 1e-9 * rr * ll:
        return 1 / alone, 0.0
    slowness, overhead = (ll * sum_r - rl * sum_l) / determinant, (rr * sum_l - rl * sum_r) / determinant
    if slowness <= 0:
        raise BackendError(
            "the timings contradict each other: a larger file was faster. Close other programs and measure again."
        )
    return (1 / slowness, overhead) if overhead >= 0 else (1 / alone, 0.0)


def _prefill(timings: Sequence[Timing], clock: float) -> tuple[float, dict[str, float]]:
    """Return cycles per multiply-add of the attention, and per weight of each storage type."""
    attention = [
        (1 / one.long_tps - 1 / one.short_tps) * clock / ((LONG - SHORT) * load_of(one.shape).attention) for one in timings
    ]
    cost = max(statistics.median(attention), 0.0)
    found: dict[str, list[float]] = {}
    for one in timings:
        load = load_of(one.shape)
        spent = clock / one.long_tps - LONG * load.attention * cost
        for type_ in load.body:
            found.setdefault(type_, []).append(max(spent, 0.1 * clock / one.long_tps) / sum(load.body.values()))
    return cost, {type_: statistics.fmean(costs) for type_, costs in found.items()}


def _guessed(cycles: dict[str, float]) -> dict[str, float]:
    mean = statistics.fmean(cycles.values())
    return {type_: mean for type_ in dict.fromkeys(QUANTS.values()) if type_ not in cycles}


def _read(load: Load) -> float:
    return sum(load.bytes.values()) + KV_PAD * load.kv_bytes


def _through_zero(relative: Sequence[float]) -> float:
    return sum(relative) / sum(one * one for one in relative)


def _products(points: Sequence[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    yield [(read, read) for read, _ in points]
    yield list(points)
    yield [(layers, layers) for _, layers in points]


def _figure(key: str, value: float, source: str) -> Iterator[str]:
    if math.isfinite(value):
        yield f"{key}: {{value: {value:.6g}, source: {json.dumps(source)}, trust: 3}}\n"


def _table(name: str, source: str, trust: int, cycles: dict[str, float]) -> Iterator[str]:
    yield f"{name}:\n  source: {json.dumps(source)}\n  trust: {trust}\n"
    yield from (f"  {type_}: {cost:.4g}\n" for type_, cost in cycles.items())
