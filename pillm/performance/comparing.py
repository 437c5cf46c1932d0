"""Two measurements beside each other: what may be compared, by how much they differ, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from pillm.errors import DataError
from pillm.performance.benchmark import Benchmark
from pillm.performance.medians import Median, ratio

ACROSS = ("model", "device", "threads")
"""What may be compared across when it is asked for."""
LESS_IS_BETTER = ("load_ms", "ttft_ms", "peak_memory", "bytes")
_ALIKE = 0.005
ENOUGH = 3
"""Samples from which on something can be said of chance."""
_COUNTED = ("peak_memory", "bytes")
"""Figures that chance does not change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure of two records: how many times the first one's the second one's is, with the 95 % interval."""

    figure: str
    before: float
    after: float
    ratio: Median
    samples: int = ENOUGH
    """On the side that has fewer."""

    @property
    def certain(self) -> bool:
        """Return whether the interval leaves 1 out; of what is timed, a sample or two say nothing of chance."""
        return self.samples >= ENOUGH and not self.ratio.low <= 1 <= self.ratio.high

    @property
    def word(self) -> str:
        """Return better, worse, or unsure where the interval includes no change; the same where there is none of note."""
        if abs(self.ratio.value - 1) < _ALIKE:
            return "the same"
        if not self.certain:
            return "unsure"
        return "better" if (self.ratio.value < 1) == (self.figure in LESS_IS_BETTER) else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What changed from one record to another."""

    changes: tuple[Change, ...]
    caveats: tuple[str, ...] = ()
    """What else was not the same, and may be why."""

    @property
    def sentence(self) -> str:
        """Return what became of decoding and prefill, as one sentence."""
        names = {"tg_tps": "Decode", "pp_tps": "prefill"}
        said = [f"{names[one.figure]} {_speed(one)}" for one in self.changes if one.figure in names]
        sentence = "; ".join(said) + "."
        return sentence[0].upper() + sentence[1:]


def _speed(change: Change) -> str:
    by = f"{abs(change.ratio.value - 1):.1%}"
    if change.word == "the same":
        return f"is as fast as before ({change.after:.4g} t/s)"
    direction = "faster" if change.ratio.value > 1 else "slower"
    interval = f"95 % interval of the ratio {change.ratio.low:.3f} to {change.ratio.high:.3f}"
    if change.samples < ENOUGH:
        interval = "too few samples for an interval"
    span = f"{change.before:.4g} to {change.after:.4g} t/s, {interval}"
    sure = "" if change.certain else ", which may be chance"
    return f"is {by} {direction}{sure} ({span})"


def differences(left: Benchmark, right: Benchmark, across: Collection[str] = ()) -> Iterator[str]:
    """Yield why two records may not be compared; what is not known on one side is passed over."""
    both = [("device", *_devices(left, right)), ("threads", left.threads, right.threads)]
    if left.sha256 and right.sha256:
        both.append(("model", f"{left.model} ({left.sha256[:12]})", f"{right.model} ({right.sha256[:12]})"))
    else:
        both.append(("model", left.model, right.model))
    # a file may have been renamed; its content is what is compared
    same_file = left.sha256 is not None and left.sha256 == right.sha256
    both += [("pp", left.pp, right.pp), ("tg", left.tg, right.tg), ("basis", left.basis, right.basis)]
    for name, before, after in both:
        alike = before == after or None in (before, after) or (name == "model" and same_file)
        if not alike and name not in across:
            yield f"{name} {before}, not {after}"


def caveats(left: Benchmark, right: Benchmark) -> Iterator[str]:
    """Yield what was not the same in two measurements that may be compared, and may be why they differ.

    What is not known on one side is passed over.
    """
    yield from _settings(left, right)
    one, other = left.conditions, right.conditions
    if one is None or other is None:
        return
    if None not in (one.machine_id, other.machine_id) and one.machine_id != other.machine_id:
        yield "another machine of the same kind, or one that was installed anew"
    limits = tuple(each.limit_mhz or each.max_mhz for each in (one, other))
    if None not in limits and limits[0] != limits[1]:
        yield f"the clock was limited to {limits[0]:.0f} MHz, then to {limits[1]:.0f}"
    for name in ("governor", "kernel", "firmware"):
        before, after = getattr(one, name), getattr(other, name)
        if None not in (before, after) and before != after:
            yield f"{name} {before}, then {after}"


def _settings(left: Benchmark, right: Benchmark) -> Iterator[str]:
    if left.runner and right.runner and left.runner != right.runner:
        yield f"runner {left.runner}, then {right.runner}"
    if left.build and right.build and left.build != right.build:
        yield f"another build: {left.build}, then {right.build}"
    if None not in (left.repack, right.repack) and left.repack != right.repack:
        how = ("as they are in the file", "arranged anew for the processor")
        yield f"weights {how[bool(left.repack)]}, then {how[bool(right.repack)]}"


def _devices(left: Benchmark, right: Benchmark) -> tuple[str, str]:
    """Return what two records ran on; a runner calls every machine the same, so the board is said where both tell it."""
    boards = (left.board, right.board)
    if None in boards or boards[0] == boards[1]:
        return left.device, right.device
    return f"{left.device} ({boards[0]})", f"{right.device} ({boards[1]})"


def check_comparable(left: Benchmark, right: Benchmark, names: tuple[str, str], across: Collection[str] = ()) -> None:
    """Raise DataError where one record is void or is of something else; `names` is what to call them."""
    for one, name in zip((left, right), names, strict=True):
        if one.void:
            raise DataError(f"{name} is void ({'; '.join(one.void)}): it is kept, and never compared. Measure again.")
    if other := list(differences(left, right, across)):
        ways = f" --across {'|'.join(ACROSS)} compares all the same." if {one.split()[0] for one in other} & set(ACROSS) else ""
        raise DataError(f"{names[0]} was measured with {'; '.join(other)}: it cannot be compared with {names[1]}.{ways}")


def compare(left: Benchmark, right: Benchmark) -> Comparison:
    """Return what changed from one record to another, for every figure that both have; see `check_comparable`."""
    headline = (f"pp{left.pp}", f"tg{left.tg}")
    shared = [one.name for one in left.points if one.name not in headline and right.speeds(one.name)]
    found = [_change(name, left.speeds(name), right.speeds(name)) for name in (*_timed(left, right), *shared)]
    for name in LESS_IS_BETTER:
        before, after = _single(left, name), _single(right, name)
        if before and after:
            found.append(_change(name, before, after))
    return Comparison(changes=tuple(found), caveats=tuple(caveats(left, right)))


def _timed(left: Benchmark, right: Benchmark) -> list[str]:
    return [name for name in ("tg_tps", "pp_tps") if left.speeds(name) and right.speeds(name)]


def _single(record: Benchmark, name: str) -> Sequence[float]:
    timed = record.times.get(name)
    if timed is not None and timed.samples:
        return timed.samples if min(timed.samples) > 0 else ()
    value = getattr(record, name)
    return () if not value or value < 0 else (float(value),)


def _change(name: str, before: Sequence[float], after: Sequence[float]) -> Change:
    samples = ENOUGH if name in _COUNTED else min(len(before), len(after))
    return Change(figure=name, before=median(before), after=median(after), ratio=ratio(after, before), samples=samples)
