"""Fit a device's speeds from a few timings made on it, and say how well the fit meets them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from pillm.devices.profile import DeviceProfile
from pillm.devices.shapes import ModelShape
from pillm.devices.speed import KV_PAD, Load, decode_seconds, load_of, prefill_seconds, without_memory
from pillm.errors import BackendError

SHORT, LONG = 64, 256
"""Prompt tokens of the two timings of prefill, whose difference is the attention's."""
_LONGER = 1.03
"""A type that takes so many times as long as its bytes waits for the cores."""
_NOTHING = 1e-12
_STRAYS = 0.15
"""A timing that the fit of all misses by more than this is made again."""
_HOPELESS = 0.5
_LEAST_ERROR = 0.01
"""What two runs on a quiet machine differ by: no fit is told to err less."""


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

    @property
    def speeds(self) -> tuple[float, ...]:
        """Return what was timed: decode, then the two prompts."""
        return (self.tg_tps, self.short_tps, self.long_tps)

    def better(self, other: Timing) -> Timing:
        """Return the faster of two timings of one file, figure by figure: what disturbs a timing only slows it."""
        figures = ("short_tps", "long_tps", "tg_tps")
        return replace(self, **{name: max(getattr(self, name), getattr(other, name)) for name in figures})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The speeds that the timings of one number of threads show."""

    profile: DeviceProfile
    """With these speeds and errors; its memory says nothing."""
    timings: tuple[Timing, ...]

    @property
    def sizes(self) -> list[float]:
        """Return the sizes of the files that were timed, in 10^6 bytes, smallest first."""
        return sorted(one.shape.file_bytes / 1e6 for one in self.timings)

    def misses(self, timing: Timing) -> tuple[float, ...]:
        """Return by what share each of a timing's speeds was foretold too high, as `Timing.speeds` orders them."""
        load = load_of(timing.shape)
        prompts = [prefill_seconds(load, self.profile, tokens, batch=tokens) for tokens in timing.prompts]
        foretold = (
            decode_seconds(load, self.profile),
            *(_each(one, n) for one, n in zip(prompts, timing.prompts, strict=True)),
        )
        return tuple(1 / (seconds or math.inf) / speed - 1 for seconds, speed in zip(foretold, timing.speeds, strict=True))


def fits_of(timings: Sequence[Timing], ghz: float) -> list[Fit]:
    """Return a fit of the timings with most threads and, where there are some with fewer, one of those.

    Raises BackendError where a larger file was faster than a smaller one of its type, or the files are too much alike.
    """
    most = max(one.threads for one in timings)
    groups = [[one for one in timings if one.threads == most], [one for one in timings if one.threads < most]]
    return [_fit(group, ghz) for group in groups if group]


def strays(timings: Sequence[Timing], ghz: float) -> list[int]:
    """Return the places of the timings that do not go with the others, the worst first; such were disturbed."""
    pairs = _contradicting(timings)
    if pairs:
        return list(dict.fromkeys(pairs))
    fits = fits_of(timings, ghz)
    worst = {
        place: max(abs(miss) for fit in fits for miss in fit.misses(one) if one in fit.timings)
        for place, one in enumerate(timings)
    }
    return sorted((place for place, miss in worst.items() if miss > _STRAYS), key=lambda place: -worst[place])


def check_agreement(fits: Sequence[Fit]) -> None:
    """Raise BackendError where a fit misses one of its own timings so far that it tells nothing."""
    for fit in fits:
        for one in fit.timings:
            miss = max(fit.misses(one), key=abs)
            if abs(miss) > _HOPELESS:
                raise BackendError(
                    f"the timings do not go together: all of them foretell {1 + miss:.2f} times the speed that "
                    f"{one.shape.name} had. Close other programs and try again."
                )


def _fit(timings: Sequence[Timing], ghz: float) -> Fit:
    threads = timings[0].threads
    clock = threads * ghz * 1e9
    decode = _decode(timings)
    attention, cycles = _prefill(timings, clock)
    profile = DeviceProfile(
        name="fitted", title="", ram_mib=0, cores=threads, threads=threads, threads_batch=threads, ghz=ghz,
        bandwidth_gbps=decode.rate / 1e9, layer_ms=decode.layer * 1e3, token_ms=decode.token * 1e3,
        attention_cycles=attention, cycles=cycles, decode_cycles=decode.cycles(clock),
    )  # fmt: skip
    fit = Fit(profile=profile, timings=tuple(timings))
    misses = [fit.misses(one) for one in timings]
    told = replace(
        profile,
        decode_error=_error([one[0] for one in misses], decode.figures),
        prefill_error=_error([miss for one in misses for miss in one[1:]], len(cycles) + 1),
    )
    return replace(fit, profile=told)


def _error(misses: Sequence[float], figures: int) -> float | None:
    """Return how far a fit of so many figures errs, by what it misses; None where it has a figure for every timing."""
    spare = len(misses) - figures
    worst = max(abs(miss) for miss in misses)
    return max(worst * len(misses) / spare, _LEAST_ERROR) if spare > 0 else None


def _each(seconds: float | None, tokens: int) -> float | None:
    return seconds / tokens if seconds else None


def _contradicting(timings: Sequence[Timing]) -> list[int]:
    """Return the places of files that were slower than a larger one of their type with as many threads."""
    loads = [load_of(one.shape) for one in timings]
    return [
        first
        for first, second in permutations(range(len(timings)), 2)
        if timings[first].threads == timings[second].threads
        and _type(loads[first]) == _type(loads[second])
        and _read(loads[first]) < _read(loads[second])
        and timings[first].tg_tps < timings[second].tg_tps
    ]


@dataclass(frozen=True, slots=True)
class _Decode:
    """What decode takes: seconds per token whatever the model, per layer, per byte of each type; the types' largest loads."""

    token: float
    layer: float
    byte: dict[str, float]
    largest: dict[str, Load]

    @property
    def figures(self) -> int:
        """Return how many figures were fitted."""
        return len(self.byte) + (self.layer > 0) + (self.token > 0)

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
    if _contradicting(timings):
        raise BackendError("the timings contradict each other: a larger file was faster. Close other programs and try again.")
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


def _read(load: Load) -> float:
    return sum(load.bytes.values()) + KV_PAD * load.kv_bytes
