"""Fit a device's speeds from a few timings made on it, and write them as a profile of one's own."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from pillm.artifacts import DeviceFacts
from pillm.devices.quants import QUANTS
from pillm.devices.shapes import ModelShape
from pillm.devices.speed import KV_PAD, Load, load_of, without_memory
from pillm.errors import BackendError

SHORT, LONG = 64, 256
"""Prompt tokens of the two timings of prefill, whose difference is the attention's."""
TG = 32
_LONGER = 1.03
"""A type that takes so many times as long as its bytes waits for the cores."""
REACH = 4.0
"""A file so many times larger or smaller than the timed ones is still told without a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What one model file took: tokens per second of two prompts and of decode."""

    shape: ModelShape
    short_tps: float
    long_tps: float
    tg_tps: float
    threads: int = 1


def calibrated_text(name: str, facts: DeviceFacts, timings: Sequence[Timing], *, day: str) -> str:
    """Return the YAML of a profile that extends `name`, with what the timings show.

    Files that were timed with fewer threads than others, as a runner gives them, have speeds of their own. Raises
    BackendError where the timings contradict each other.
    """
    most = max(one.threads for one in timings)
    whole = [one for one in timings if one.threads == most]
    few = [one for one in timings if one.threads < most]
    clock = "" if facts.max_ghz else "; the clock is not known, so cycles are nanoseconds"
    lines = [
        "# Made by `pillm plan --calibrate`; measure again after a change of system, cooling or llama.cpp.\n",
        f"extends: {name}\n",
        f"title: {json.dumps(f'{facts.model or facts.cpu or name}, calibrated')}\n",
        *(_figure("ram_mib", facts.ram_mib, "a probe of the machine") if facts.ram_mib else ()),
        *_figure("cores", most, f"measured here, {day}: the threads that were used"),
        *_figure("ghz", facts.max_ghz or 1.0, f"a probe of the machine{clock}"),
        *_speeds(whole, facts.max_ghz or 1.0, day),
    ]
    if few:
        below = math.sqrt(max(one.shape.file_bytes for one in few) * min(_own_sizes(whole, few)))
        source = "between the largest file that the runner gave fewer threads and the smallest that it gave all"
        lines += ["small_files:\n", *(f"  {line}" for line in _figure("below_mb", below / 1e6, source))]
        lines += [_indented(line) for line in _speeds(few, facts.max_ghz or 1.0, day)]
    return "".join(lines)


def _own_sizes(whole: Sequence[Timing], few: Sequence[Timing]) -> list[int]:
    """Return the bytes of the files that got all threads of the runner's own accord, or else of all."""
    again = {one.shape.file_bytes for one in few}
    sizes = [one.shape.file_bytes for one in whole]
    return [size for size in sizes if size not in again] or sizes


def _indented(text: str) -> str:
    return "".join(f"  {line}" for line in text.splitlines(keepends=True))


def _speeds(timings: Sequence[Timing], ghz: float, day: str) -> Iterator[str]:
    """Yield what the timings of one number of threads show."""
    threads = timings[0].threads
    clock, said = threads * ghz * 1e9, f"measured here, {day}, {threads} threads"
    rate, overhead, slow = _decode(timings, clock)
    attention, cycles = _prefill(timings, clock)
    sizes = [one.shape.file_bytes / 1e6 for one in timings]
    fitted = f"{said}: files of {' and '.join(f'{size:.0f}' for size in sorted(sizes))} MB"
    yield from (
        *_figure("threads", threads, said),
        *_figure("threads_batch", threads, said),
        *_figure("bandwidth_gbps", rate / 1e9, fitted),
        *_figure("layer_ms", overhead * 1e3, fitted),
        *_figure("fitted_from_mb", min(sizes) / REACH, f"a {REACH:g}th of the smallest file"),
        *_figure("fitted_to_mb", max(sizes) * REACH, f"{REACH:g} times the largest file"),
        *_figure("attention_cycles", attention, f"{said}: prompts of {SHORT} and {LONG} tokens"),
        *_table("cycles", f"{said}; per weight and core", 3, cycles),
        *_table("cycles_estimated", "the mean of the types that were measured", 1, _guessed(cycles, cycles)),
        *(_table("decode_cycles", f"{said}; of types that wait for the cores", 3, slow) if slow else ()),
        *(_table("decode_cycles_estimated", "the mean of those measured", 1, _guessed(slow, cycles)) if slow else ()),
    )


def _decode(timings: Sequence[Timing], clock: float) -> tuple[float, float, dict[str, float]]:
    """Return bytes per second, seconds per layer, and cycles per weight of the types that wait for the cores.

    The read rate is that of the type that is read fastest; another one that takes longer than its bytes waits for the cores.
    """
    overhead = _overhead(timings)
    spent = [(load_of(one.shape), 1 / one.tg_tps - overhead * one.shape.layers) for one in timings]
    rate = max(_read(load) / seconds for load, seconds in spent)
    found: dict[str, list[float]] = {}
    for load, seconds in spent:
        memory = _read(load) / rate
        if seconds > _LONGER * memory:
            total = sum(load.weights.values())
            found.setdefault(max(load.weights, key=lambda type_: load.weights[type_]), []).append(
                without_memory(seconds, memory) * clock / total
            )
    return rate, overhead, {type_: statistics.fmean(costs) for type_, costs in found.items()}


def _overhead(timings: Sequence[Timing]) -> float:
    """Return seconds per layer: what two files of one type and of different size cannot explain by their bytes."""
    found = []
    for one, two in combinations(timings, 2):
        first, second = load_of(one.shape), load_of(two.shape)
        if first.bytes.keys() != second.bytes.keys():
            continue
        reads, layers = (_read(first), _read(second)), (first.layers, second.layers)
        determinant = reads[0] * layers[1] - reads[1] * layers[0]
        if not determinant:
            continue
        slowness = (layers[1] / one.tg_tps - layers[0] / two.tg_tps) / determinant
        if slowness <= 0:
            raise BackendError(
                "the timings contradict each other: a larger file was faster. Close other programs and try again."
            )
        found.append((reads[0] / two.tg_tps - reads[1] / one.tg_tps) / determinant)
    return max(statistics.median(found), 0.0) if found else 0.0


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


def _guessed(cycles: dict[str, float], known: dict[str, float]) -> dict[str, float]:
    """Return the mean for every type that was not timed."""
    mean = statistics.fmean(cycles.values())
    return {type_: mean for type_ in dict.fromkeys(QUANTS.values()) if type_ not in known}


def _read(load: Load) -> float:
    return sum(load.bytes.values()) + KV_PAD * load.kv_bytes


def _figure(key: str, value: float, source: str) -> Iterator[str]:
    if math.isfinite(value):
        yield f"{key}: {{value: {value:.6g}, source: {json.dumps(source)}, trust: 3}}\n"


def _table(name: str, source: str, trust: int, cycles: dict[str, float]) -> Iterator[str]:
    yield f"{name}:\n  source: {json.dumps(source)}\n  trust: {trust}\n"
    yield from (f"  {type_}: {cost:.4g}\n" for type_, cost in cycles.items())
