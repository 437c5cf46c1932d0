"""The plots of the report, as inline SVG: quality against size, where quality was lost, tokens per second.

Colours come from the page's style by class, so that light, dark and print each have their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pillm.report.elements import Markup, tag
from pillm.report.scales import Box, Scale, log_ticks, place_labels, score_domain
from pillm.report.words import interval, score, size, size_tick, speed

_CHARACTER = 7.2
_ROW = 46
_BAR, _STROKE = 18, 7
_VOID = ", void: the machine was disturbed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A score to plot: its label, kind (a colour), figure, and where it has one its size in bytes."""

    label: str
    kind: str
    figure: Mapping[str, float]
    bytes: int | None = None
    picked: bool = False
    step: str = ""
    """The paired difference of its row in the ladder."""
    rows: str = ""
    """On how many rows it was better and worse."""
    tone: str = ""
    """worse, better or same."""

    @property
    def title(self) -> str:
        """Return what a pointer or a screen reader is told."""
        sized = f", {size(self.bytes)}" if self.bytes else ""
        return f"{self.label}: {score(self.figure['mean'])} {interval(self.figure)}{sized}"


def quality_against_size(points: Sequence[Point], metric: str, width: int) -> Markup:
    """Return a scatter plot of score against bytes (logarithmic), with whiskers of 95 %."""
    sized = [point for point in points if point.bytes]
    shown = [point for point in sized if point.kind != "base"] or sized
    height = 360 if width > 500 else 300
    left, right, top, bottom = 52, width - 16, 22, height - 44
    low, high, ticks = score_domain(value for one in shown for value in (one.figure["low"], one.figure["high"]))
    sizes = [float(one.bytes or 1) for one in shown]
    x = Scale(min(sizes) / 1.35, max(sizes) * 1.35, left, right, log=True)
    y = Scale(low, high, bottom, top)
    grid = [grid_line(left, right, y(tick), f"{tick:.2f}") for tick in ticks]
    axis = size_axis(x, bottom)
    titles = [
        tag("text", metric, x=left - 42, y=12, class_="axis"),
        tag("text", "bytes of weights and tokenizer, logarithmic →", x=right, y=height - 6, class_="axis", text_anchor="end"),
    ]
    marks = [_whisker(one, x(float(one.bytes or 1)), y) for one in shown]
    labels = _labels(shown, x, y, (left, top - 12, right, bottom))
    about = f"{metric} against size: " + "; ".join(one.title for one in shown)
    return drawing(width, height, about, grid, axis, titles, _teacher_line(shown, (left, right), y), marks, labels)


def _teacher_line(points: Sequence[Point], ends: tuple[float, float], y: Scale) -> list[Markup]:
    """Return the teacher's score as a line to measure the others against, with its interval as a band."""
    for one in points:
        if one.kind == "teacher":
            upper, lower = y(min(one.figure["high"], y.high)), y(max(one.figure["low"], y.low))
            band = tag("rect", x=ends[0], y=upper, width=ends[1] - ends[0], height=max(lower - upper, 1), class_="band")
            level = y(one.figure["mean"])
            return [band, tag("line", x1=ends[0], x2=ends[1], y1=level, y2=level, class_="teacher-line")]
    return []


def _whisker(point: Point, x: float, y: Scale) -> Markup:
    middle, upper, lower = (y(min(max(point.figure[key], y.low), y.high)) for key in ("mean", "high", "low"))
    parts = [
        tag("title", point.title),
        tag("line", x1=x, x2=x, y1=upper, y2=lower, class_="whisker"),
        tag("line", x1=x - 4, x2=x + 4, y1=upper, y2=upper, class_="whisker"),
        tag("line", x1=x - 4, x2=x + 4, y1=lower, y2=lower, class_="whisker"),
        tag("circle", cx=x, cy=middle, r=11, class_="halo") if point.picked else None,
        tag("circle", cx=x, cy=middle, r=6, class_="dot"),
    ]
    return tag("g", *parts, class_=f"k-{point.kind}")


def _labels(points: Sequence[Point], x: Scale, y: Scale, area: Box) -> list[Markup]:
    """Return the points' names, clear of each other, of dots and of whiskers."""
    places = [(x(float(one.bytes or 1)), y(one.figure["mean"]), len(one.label) * _CHARACTER) for one in points]
    whiskers = [
        (place[0] - 6, y(min(one.figure["high"], y.high)), place[0] + 6, y(max(one.figure["low"], y.low)))
        for one, place in zip(points, places, strict=True)
    ]
    spots = place_labels(places, whiskers, area)
    return [
        tag("text", one.label, x=at[0], y=at[1], class_="label picked" if one.picked else "label", text_anchor="middle")
        for one, at in zip(points, spots, strict=True)
    ]


def quality_ladder(points: Sequence[Point], metric: str, width: int) -> Markup:
    """Return one row per subject, from the teacher down to each file: its score with whisker, and what the step cost."""
    slim = width < 500
    row = _ROW + (14 if slim else 0)
    left, right, top = (12, width - 12, 34) if slim else (128, width - 240, 34)
    trained = [one for one in points if one.kind != "base"] or list(points)
    low, high, ticks = score_domain(value for one in trained for value in (one.figure["low"], one.figure["high"]))
    x = Scale(low, high, left + 8, right - 8)
    bottom = top + row * len(points)
    grid = [
        tag("g", tag("line", x1=x(tick), x2=x(tick), y1=top - 6, y2=bottom - 10, class_="grid"),
            tag("text", f"{tick:.2f}", x=x(tick), y=top - 14, class_="tick", text_anchor="middle"))
        for tick in ticks
    ]  # fmt: skip
    rows = [_rung(one, x, top + row * number + (38 if slim else 20), (left, right), slim) for number, one in enumerate(points)]
    about = f"Where {metric} was lost: " + "; ".join(f"{one.title} {one.step}" for one in points)
    return drawing(width, bottom + 2, about, grid, rows)


def _rung(point: Point, x: Scale, y: float, ends: tuple[float, float], slim: bool) -> Markup:
    left, right = ends
    lower, middle, upper = (x(min(max(point.figure[key], x.low), x.high)) for key in ("low", "mean", "high"))
    off = point.figure["mean"] < x.low
    mark = [
        tag("text", f"◂ {score(point.figure['mean'])}", x=left + 8, y=y + 4, class_="off")
        if off
        else tag("line", x1=lower, x2=upper, y1=y, y2=y, class_="whisker thick"),
        None if off or not point.picked else tag("circle", cx=middle, cy=y, r=11, class_="halo"),
        None if off else tag("circle", cx=middle, cy=y, r=6.5, class_="dot"),
    ]
    name = tag(
        "text", point.label, x=left if slim else left - 18, y=y - 16 if slim else y + 4,
        class_="label picked" if point.picked else "label", text_anchor="start" if slim else "end",
    )  # fmt: skip
    level = y - 16 if slim else y + 4
    places = (right - 166, right - 106, right) if slim else (right + 18, right + 68, right + 130)
    told = ((score(point.figure["mean"]), "value"), (point.step, f"note {point.tone}"), (point.rows, "note"))
    value = [
        tag("text", said, x=at, y=level, class_=class_, text_anchor="end" if slim else "start")
        for at, (said, class_) in zip(places, told, strict=True)
        if said
    ]
    line = tag("line", x1=left, x2=right, y1=y, y2=y, class_="rung")
    return tag("g", tag("title", f"{point.title} {point.step}"), line, *mark, name, value, class_=f"k-{point.kind}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """How fast a file is, in tokens per second."""

    label: str
    value: float
    picked: bool = False
    void: bool = False
    """Whether the machine was disturbed while it was timed."""


def speed_bars(rows: Sequence[Bar], basis: str, width: int) -> Markup:
    """Return one bar per file; dashed unless measured, hatched and hollow where the measurement is void."""
    longest = max((one.value for one in rows), default=1.0) or 1.0
    left, right, row = 74, width - 70, 30
    x = Scale(0, longest, left, right)
    bars = []
    for number, one in enumerate(rows):
        y, long = 6 + row * number, max(x(one.value) - left, 2)
        class_ = f"bar {basis}" + (" picked" if one.picked else "") + (" disturbed" if one.void else "")
        bars.append(
            tag(
                "g",
                tag("title", f"{one.label}: {speed(one.value)} tokens per second, {basis}{_VOID if one.void else ''}"),
                tag(
                    "text",
                    one.label,
                    x=left - 10,
                    y=y + 15,
                    class_="label picked" if one.picked else "label",
                    text_anchor="end",
                ),
                tag("rect", x=left, y=y + 2, width=long, height=_BAR, rx=3, class_=class_),
                tag("path", d=_hatching(left, y + 2, long), class_="hatching") if one.void else None,
                tag("text", speed(one.value), x=left + long + 8, y=y + 15, class_="value"),
            )
        )
    told = (f"{one.label} {speed(one.value)}{_VOID if one.void else ''}" for one in rows)
    return drawing(width, row * len(rows) + 8, f"tokens per second, {basis}: " + "; ".join(told), bars)


def _hatching(left: float, top: float, width: float) -> str:
    """Return the path of slanted strokes across a bar, cut at its ends."""
    strokes = []
    for start in range(int(-_BAR), int(width) + 1, _STROKE):
        first, last = max(start, 0), min(start + _BAR, width)
        if last > first:
            low, high = top + _BAR - (first - start), top + _BAR - (last - start)
            strokes.append(f"M{left + first:.1f} {low:.1f}L{left + last:.1f} {high:.1f}")
    return "".join(strokes)


def grid_line(left: float, right: float, y: float, label: str) -> Markup:
    """Return a line across a plot with its tick on the left."""
    line = tag("line", x1=left, x2=right, y1=y, y2=y, class_="grid")
    return tag("g", line, tag("text", label, x=left - 10, y=y + 4, class_="tick", text_anchor="end"))


def size_axis(x: Scale, bottom: float) -> list[Markup]:
    """Return the ticks of a logarithmic axis of bytes below a plot."""
    return [
        tag("text", size_tick(tick), x=x(tick), y=bottom + 20, class_="tick", text_anchor="middle")
        for tick in log_ticks(x.low, x.high)
    ]


def drawing(width: int, height: float, about: str, *parts: Sequence[Markup | None]) -> Markup:
    """Return parts as one picture that says to screen readers what it is about."""
    size_ = "slim" if width < 500 else "wide"
    return tag("svg", *parts, viewbox=f"0 0 {width} {height:.0f}", role="img", aria_label=about, class_=f"plot {size_}")
