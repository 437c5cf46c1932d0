"""Fit a device's speeds from a few timings made on it, and write them as a profile of one's own."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from pillm.artifacts import DeviceFacts
from pillm.devices.quants import QUANTS
from pillm.devices.shapes import ModelShape
from pillm.devices.speed import KV_PAD, Load, load_of, without_memory
from pillm.errors import BackendError

SHORT, LONG = 64, 256
"""Prompt tokens of the two timings of prefill, whose difference is the attention's."""
_LONGER = 1.03
"""A type that takes so many times as long as its bytes waits for the cores."""
_NOTHING = 1e-12
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
    prompts: tuple[int, int] = (SHORT, LONG)
    """Tokens of the two prompts."""


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
    decode = _decode(timings)
    slow = decode.cycles(clock)
    attention, cycles = _prefill(timings, clock)
    sizes = [one.shape.file_bytes / 1e6 for one in timings]
    fitted = f"{said}: files of {' and '.join(f'{size:.0f}' for size in sorted(sizes))} MB"
    yield from (
        *_figure("threads", threads, said),
        *_figure("threads_batch", threads, said),
        *_figure("bandwidth_gbps", decode.rate / 1e9, fitted),
        *_figure("layer_ms", decode.layer * 1e3, fitted),
        *_figure("token_ms", decode.token * 1e3, fitted),
        *_figure("fitted_from_mb", min(sizes) / REACH, f"a {REACH:g}th of the smallest file"),
        *_figure("fitted_to_mb", max(sizes) * REACH, f"{REACH:g} times the largest file"),
        *_figure("attention_cycles", attention, f"{said}: prompts of two lengths"),
        *_table("cycles", f"{said}; per weight and core", 3, cycles),
        *_table("cycles_estimated", "the mean of the types that were measured", 1, _guessed(cycles, cycles)),
        *(_table("decode_cycles", f"{said}; of types that wait for the cores", 3, slow) if slow else ()),
        *(_table("decode_cycles_estimated", "the mean of those measured", 1, _guessed(slow, cycles)) if slow else ()),
    )


@dataclass(frozen=True, slots=True)
class _Decode:
    """What decode takes: seconds per token whatever the model, per layer, per byte of each type; the types' largest loads."""

    token: float
    layer: float
    byte: dict[str, float]
    largest: dict[str, Load]

    @property
    def rate(self) -> float:
        """Return bytes per second: those of the type that is read fastest; another one waits for the cores."""
        return 1 / min(self.byte.values())

    def cycles(self, clock: float) -> dict[str, float]:
        """Return cycles per weight of the types that wait for the cores."""
        found = {}
        for type_, load in self.largest.items():
            seconds, memory = self.byte[type_] * _read(load), _read(load) / self.rate
            if seconds > _LONGER * memory:
                found[type_] = without_memory(seconds, memory) * clock / sum(load.weights.values())
        return found


def _decode(timings: Sequence[Timing]) -> _Decode:
    """Return what decode takes, by least squares of the relative errors.

    Two sizes of a type show what a layer takes, three what a token takes; what comes out below 0 is taken for 0. Raises
    BackendError where a larger file was faster than a smaller one.
    """
    loads = [(load_of(one.shape), one.tg_tps) for one in timings]
    for (first, slow), (second, fast) in permutations(loads, 2):
        if _type(first) == _type(second) and _read(first) < _read(second) and slow < fast:
            raise BackendError(
                "the timings contradict each other: a larger file was faster. Close other programs and try again."
            )
    sizes: dict[str, dict[float, Load]] = {}
    for load, _ in loads:
        sizes.setdefault(_type(load), {})[_read(load)] = load
    several = max(len(found) for found in sizes.values())
    unknown = ["layer"] * (several > 1) + ["token"] * (several > 2)
    while True:
        columns = [*sizes, *unknown]
        rows = [[_share(name, load) * speed for name in columns] for load, speed in loads]
        found = dict(zip(columns, least_squares(rows), strict=True))
        below = [name for name in unknown if found[name] < 0]
        if not below and min(found[type_] for type_ in sizes) > 0:
            break
        # a disturbed timing can leave nothing for the bytes: then they alone are counted
        unknown.remove(min(below, key=lambda name: found[name]) if below else unknown[-1])
    largest = {type_: by_size[max(by_size)] for type_, by_size in sizes.items()}
    return _Decode(found.get("token", 0.0), found.get("layer", 0.0), {type_: found[type_] for type_ in sizes}, largest)


def _type(load: Load) -> str:
    return max(load.weights, key=lambda type_: load.weights[type_])


def _share(name: str, load: Load) -> float:
    """Return how often a load pays what a name stands for."""
    if name in ("token", "layer"):
        return 1.0 if name == "token" else float(load.layers)
    return _read(load) if name == _type(load) else 0.0


def least_squares(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the factors of the columns whose sums come nearest to 1 in every row; raise BackendError where none do."""
    width = len(rows[0])
    scales = [max(abs(row[column]) for row in rows) or 1.0 for column in range(width)]
    scaled = [[value / scale for value, scale in zip(row, scales, strict=True)] for row in rows]
    table = [
        [sum(row[one] * row[other] for row in scaled) for other in range(width)] + [sum(row[one] for row in scaled)]
        for one in range(width)
    ]
    for column in range(width):  # Gauss, with the largest of a column first
        pivot = max(range(column, width), key=lambda row: abs(table[row][column]))
        if abs(table[pivot][column]) < _NOTHING:
            raise BackendError("the files that were timed are too much alike. Give the runner others.")
        table[column], table[pivot] = table[pivot], table[column]
        for row in range(width):
            if row != column:
                factor = table[row][column] / table[column][column]
                table[row] = [mine - factor * theirs for mine, theirs in zip(table[row], table[column], strict=True)]
    return [table[column][width] / table[column][column] / scales[column] for column in range(width)]


def _prefill(timings: Sequence[Timing], clock: float) -> tuple[float, dict[str, float]]:
    """Return cycles per multiply-add of the attention, and per weight of each storage type."""
    attention = [
        (1 / one.long_tps - 1 / one.short_tps) * clock / ((one.prompts[1] - one.prompts[0]) * load_of(one.shape).attention)
        for one in timings
    ]
    cost = max(statistics.median(attention), 0.0)
    found: dict[str, list[float]] = {}
    for one in timings:
        load = load_of(one.shape)
        spent = clock / one.long_tps - one.prompts[1] * load.attention * cost
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
