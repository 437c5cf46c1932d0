"""From figures to places on a plot: nice ticks, linear and logarithmic scales, labels that do not overlap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
_FARTHER = (32, 48, 66, 88, 114, 144)
"""How far away a label is put where nothing nearer is free."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps a domain to pixels; logarithmic where `log` is set, when the domain must be above 0."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = log10(value), log10(low), log10(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def score_domain(values: Iterable[float]) -> tuple[float, float, list[float]]:
    """Return a domain within 0..1 that shows scores closely, and its ticks; it never shows less than 0.05."""
    known = list(values) or [0.0, 1.0]
    low, high = max(min(known), 0.0), min(max(known), 1.0)
    span = max(high - low, 0.05)
    step = next((size for size in (0.01, 0.02, 0.05, 0.1, 0.2) if span / size <= 6), 0.25)
    bottom = max(floor((low - 0.15 * span) / step + 1e-9), 0)
    top = min(ceil((high + 0.1 * span) / step - 1e-9), round(1 / step))
    while (top - bottom) * step < 0.05 - 1e-9:
        bottom, top = (bottom - 1, top) if bottom > 0 else (bottom, top + 1)
    ticks = [round(number * step, 4) for number in range(bottom, top + 1)]
    return ticks[0], ticks[-1], ticks


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most `most` multiples of 1, 2 or 5 times a power of ten inside a range."""
    power = 10.0 ** floor(log10((high - low) / most)) if high > low else 1.0
    sizes = (power, 2 * power, 5 * power, 10 * power)
    step = next((size for size in sizes if floor(high / size) - ceil(low / size) < most), 20 * power)
    return [number * step for number in range(ceil(low / step), floor(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten inside a range; the powers alone, or some, where these are too many."""
    powers = range(floor(log10(low)) - 1, ceil(log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    if len(shown) <= 7:
        return shown
    whole = [tick for tick in shown if log10(tick) == round(log10(tick))]
    return whole[:: ceil(len(whole) / 8)]


def place_labels(
    points: Sequence[tuple[float, float, float]], whiskers: Sequence[Box], area: Box, taken: Iterable[Box] = ()
) -> list[tuple[float, float]]:
    """Return where to centre a label (x, baseline y) for each point (x, y, text width) with its whisker; not where it is taken.

    A label goes right or left of its dot, above or below its whisker: the first place that is free, ever farther away. Where
    none is, it covers as little as can be.
    """
    used = [*taken, *whiskers, *((x - 12, y - 12, x + 12, y + 12) for x, y, _ in points)]
    placed = []
    for (x, y, width), whisker in zip(points, whiskers, strict=True):
        beside = width / 2 + 16
        spots = [(x, whisker[1] - 8), (x + beside, y + 4), (x - beside, y + 4), (x, whisker[3] + 16)]
        spots += [(x + side * beside, y + shift) for side in (1, -1) for shift in (-14, 22)]
        spots += [
            (x + side * (beside + 0.6 * far), y + 4 + rise * far)
            for far in _FARTHER
            for side in (0, 1, -1)
            for rise in (-1, 1, 0)
        ]
        boxes = [(cx - width / 2, base - 12, cx + width / 2, base + 4) for cx, base in spots]
        inside = [n for n, box in enumerate(boxes) if _inside(box, area)] or range(1)
        chosen = min(inside, key=lambda n: sum(_covered(boxes[n], other) for other in used))
        used.append(boxes[chosen])
        placed.append(spots[chosen])
    return placed


def _inside(box: Box, area: Box) -> bool:
    return box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]


def _covered(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0
