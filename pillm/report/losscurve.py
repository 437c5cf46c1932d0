"""The loss curve of a training, as inline SVG: training and validation loss over steps, the best validation marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, TypeAlias

from pillm.report.charts import drawing, grid_line
from pillm.report.elements import Markup, tag
from pillm.report.scales import Box, Scale, log_ticks, round_ticks
from pillm.report.words import count, loss

Place: TypeAlias = tuple[float, float]

_LEGEND, _CHARACTER = 86, 7.6
MAX_DOTS = 40
LOG_FROM = 20
"""The scale is logarithmic where the highest loss is so many times the lowest: else its end is a flat line."""
LOG_SPAN = 1e4
"""How many times lower than the middle one a loss still has its place on a logarithmic scale; what is lower is at its foot."""
LEAST = 1e-6
"""Losses that differ by less are drawn as equal."""
ROOM_FOR = 1e5
"""Beside the scale there is room to write numbers that are smaller in full."""


def loss_curve(training: Mapping[str, Any], about: str, width: int) -> Markup:
    """Return both curves over the steps; `about` is told to screen readers."""
    train, validation = training["loss"], training["validation"]
    height = 340 if width > 500 else 280
    left, right, top, bottom = 52, width - 16, 34, height - 44
    y = _losses([point["loss"] for point in (*train, *validation)], bottom, top)
    last = max(point["step"] for point in (*train, *validation))
    x = Scale(0, last, left, right)
    ticks = log_ticks(y.low, y.high) if y.log else round_ticks(y.low, y.high)
    grid = [grid_line(left, right, y(tick), loss(tick) if tick < ROOM_FOR else f"{tick:g}") for tick in ticks]
    axis = [
        tag("text", count(round(tick)), x=x(tick), y=bottom + 20, class_="tick", text_anchor="middle")
        for tick in round_ticks(0, last, 6 if width > 500 else 4)
        if tick == round(tick)
    ]
    what = training.get("loss_is", "loss")
    scale = f"{what}, logarithmic" if y.log else what
    titles = [
        tag("text", scale, x=left - 42, y=12, class_="axis"),
        tag("text", "steps →", x=right, y=height - 6, class_="axis", text_anchor="end"),
    ]
    paths = {name: _path(points, x, y) for name, points in (("training", train), ("validation", validation)) if points}
    curves = [_curve(name, what, train if name == "training" else validation, path) for name, path in paths.items()]
    area = (left, top - 12, right, bottom)
    best = _best(training["best"], _path([training["best"]], x, y)[0], [*paths.values()], area) if validation else None
    return drawing(width, height, about, grid, axis, titles, _legend(right, list(paths)), curves, [best])


def _losses(values: Sequence[float], bottom: float, top: float) -> Scale:
    """Return the scale of the losses: from 0 where none is below, logarithmic where they differ by much."""
    low, high = min(values), max(values)
    if low >= 0 and high > max(LOG_FROM * low, LEAST):
        foot = max(low, (median(values) or high) / LOG_SPAN, LEAST)  # by the middle: one wild loss shall not hide the others
        return Scale(foot / 1.15, high * 1.15, bottom, top, log=True)
    low, high = min(low, 0), max(high, 0)
    spare = 0.06 * (high - low) if high - low > LEAST else 1.0
    return Scale(low - (spare if low < 0 else 0), high + spare, bottom, top)


def _path(points: Sequence[Mapping[str, Any]], x: Scale, y: Scale) -> list[Place]:
    return [(x(point["step"]), y(max(point["loss"], y.low))) for point in points]


def _curve(name: str, what: str, points: Sequence[Mapping[str, Any]], path: Sequence[Place]) -> Markup:
    """Return a curve, with dots where its points are few, as validations are."""
    told = [f"{name} {what} {loss(point['loss'])} at step {count(point['step'])}" for point in points]
    dots = [
        tag("circle", tag("title", said), cx=at, cy=level, r=3.5, class_="dot")
        for said, (at, level) in zip(told, path, strict=True)
        if len(points) == 1 or (name == "validation" and len(points) <= MAX_DOTS)
    ]
    line = tag("polyline", points=" ".join(f"{at:.1f},{level:.1f}" for at, level in path), class_="curve")
    return tag("g", tag("title", f"{told[0]}; {told[-1]}"), line, *dots, class_=f"k-{name}")


def _best(point: Mapping[str, Any], place: Place, paths: Sequence[Sequence[Place]], area: Box) -> Markup:
    """Return a ring around the best validation, with its loss above or below it, where no curve passes."""
    said = f"best {loss(point['loss'])}"
    half = len(said) * _CHARACTER / 2
    middle = min(max(place[0], area[0] + half), area[2] - half)
    boxes = [(middle - half, place[1] + away - 13, middle + half, place[1] + away + 4) for away in (-16, 26, -32, 42)]
    free = (box for box in boxes if box[1] >= area[1] and box[3] <= area[3] and not any(_crosses(path, box) for path in paths))
    name = tag("text", said, x=middle, y=next(free, boxes[0])[3] - 4, class_="label picked", text_anchor="middle")
    return tag("g", tag("circle", cx=place[0], cy=place[1], r=8, class_="halo"), name, class_="k-validation")


def _crosses(path: Sequence[Place], box: Box) -> bool:
    """Return whether a curve, or the dot that is all of it, crosses a box."""
    left, top, right, bottom = box
    for (x1, y1), (x2, y2) in pairwise(path if len(path) > 1 else [*path, *path]):
        if x1 <= right and x2 >= left:
            slope = (y2 - y1) / (x2 - x1) if x2 > x1 else 0.0
            heights = (y1 + slope * (max(x1, left) - x1), y1 + slope * (min(x2, right) - x1))
            if min(heights) <= bottom and max(heights) >= top:
                return True
    return False


def _legend(right: float, names: Sequence[str]) -> list[Markup]:
    """Return the names of the curves at the top right, each with a piece of its line."""
    left = right - _LEGEND * len(names)
    return [
        tag("g",
            tag("line", x1=left + _LEGEND * number, x2=left + _LEGEND * number + 18, y1=8, y2=8, class_="curve"),
            tag("text", name, x=left + _LEGEND * number + 24, y=12, class_="axis"),
            class_=f"k-{name}")
        for number, name in enumerate(names)
    ]  # fmt: skip
