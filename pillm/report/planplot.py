"""A picture of plans: how fast each file would be against the memory it needs, one mark per model, quantisation and device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import hypot
from pathlib import Path

from pillm.artifacts import Plan
from pillm.errors import ConfigError
from pillm.files import write_text
from pillm.report.charts import drawing, grid_line, size_axis
from pillm.report.elements import Child, Markup, raw, tag
from pillm.report.page import POLICY, STYLE
from pillm.report.scales import Box, Scale, log_ticks, place_labels, round_ticks
from pillm.report.tables import table
from pillm.report.words import size

WIDTH, HEIGHT = 880, 420
_HUE, _TURN = 345.0, 137.508
"""The first colour, and the golden angle: whatever their number, no two series have hues that are alike."""
_CHARACTER = 8.0
_ROOM = {"yes": "", "tight": ", fits tightly", "no": ", does not fit"}
_CLASS = {"yes": "dot", "tight": "tight", "no": "halo"}
_LINE = 18
_LEAD = 34
"""A label that stands farther from its mark than this has a line that leads to it."""
_NEAR = 40
_SVG = "http://www.w3.org/2000/svg"


def plan_page(plans: Sequence[Plan]) -> str:
    """Return plans as one HTML page: the picture, and the table that it is drawn from."""
    title = f"What {', '.join(dict.fromkeys(one.model for one in plans))} would do"
    picture = plan_picture(plans)
    body = tag(
        "body",
        tag(
            "main",
            tag("h1", title),
            tag("p", "Predicted by arithmetic from shapes and published measurements; nothing was run.", class_="lead"),
            tag("figure", picture) if picture else tag("p", "No speed is known for these devices."),
            table(HEADS, (row(one, len(_devices(plans)) > 1 or len(_models(plans)) > 1) for one in plans)),
        ),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} · pillm"),
        tag("style", raw(STYLE.read_text("utf-8"))),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def plan_svg(plans: Sequence[Plan]) -> str:
    """Return the picture alone, with the style that it needs."""
    style = tag("style", raw(STYLE.read_text("utf-8")))
    picture = plan_picture(plans) or drawing(WIDTH, 40, "nothing known", [tag("text", "No speed is known.", x=10, y=24)])
    return str(picture).replace("<svg ", f'<svg xmlns="{_SVG}" width="{WIDTH}" ', 1).replace(">", f">{style}", 1) + "\n"


def write_plot(plans: Sequence[Plan], path: Path) -> None:
    """Write plans as a page or a picture, as the file's name says; raise ConfigError for a form that cannot be drawn."""
    write_text(path, FORMS[drawn_form(path)](plans))


def drawn_form(path: Path) -> str:
    """Return the form in which a file of that name is drawn; raise ConfigError where there is none."""
    form = path.suffix.lower()
    if form not in FORMS:
        raise ConfigError(f"{path} cannot be drawn: plans are drawn as {' or '.join(FORMS)}. Call it {path.stem}.svg.")
    return form


def plan_picture(plans: Sequence[Plan]) -> Markup | None:
    """Return decode speed against memory, both logarithmic, with the 90 % intervals that are known; None without speeds."""
    known = [(one, one.tg_tps) for one in plans if one.tg_tps]
    if not known:
        return None
    series = list(dict.fromkeys((one.model, one.device) for one, _ in known))
    boards = _boards(one for one, _ in known)
    sizes = [*(float(_needed(one)) for one, _ in known), *map(float, boards)]
    speeds = [end for one, speed in known for end in (one.tg_interval or (speed, speed))]
    left, right, top = 60, WIDTH - 16, 30 + _LINE * len(boards)
    bottom = top + HEIGHT - 74
    x = Scale(min(sizes) / 1.3, max(sizes) * 1.3, left, right, log=True)
    y = Scale(min(speeds) / 1.25, max(speeds) * 1.25, bottom, top, log=True)
    rates = log_ticks(y.low, y.high) or round_ticks(y.low, y.high)
    grid = [grid_line(left, right, y(tick), f"{tick:g}") for tick in rates]
    axis = size_axis(x, bottom)
    titles = [
        tag("text", "tokens per second (decode), logarithmic", x=left - 48, y=14, class_="axis"),
        tag("text", "memory needed beside the system, logarithmic →", x=right, y=bottom + 38, class_="axis", text_anchor="end"),
    ]
    lines = [_board(names, x(count), 28 + _LINE * number, bottom) for number, (count, names) in enumerate(boards.items())]
    marks = [_mark(one, speed, series.index((one.model, one.device)), x(float(_needed(one))), y) for one, speed in known]
    ruled = [(x(count) - 2, top, x(count) + 2, bottom) for count in boards]
    labels = _labels(known, (x, y), (left, top - 12, right, bottom), ruled)
    about = "decode against memory: " + "; ".join(f"{one.quant} {one.model} on {one.device} {speed:g}" for one, speed in known)
    legend, height = _legend(series, bottom + 62)
    return drawing(WIDTH, height, about, grid, axis, titles, lines, legend, marks, labels)


def _boards(plans: Iterable[Plan]) -> dict[int, list[str]]:
    """Return by the memory that a device has beside its system the names of the devices that have it, smallest first."""
    found: dict[int, list[str]] = {}
    for one in plans:
        left = one.memory.get("available", 0) - one.memory.get("reserve", 0)
        if left > 0 and one.device not in found.setdefault(left, []):
            found[left].append(one.device)
    return dict(sorted(found.items()))


def _board(names: Sequence[str], x: float, y: float, bottom: float) -> Markup:
    """Return the line that no file may stand right of, with the devices whose memory ends there."""
    said = f"memory of {', '.join(names)}"
    after = x + 6 + len(said) * _CHARACTER < WIDTH
    text = tag("text", said, x=x + 6 if after else x - 6, y=y, class_="axis", text_anchor="start" if after else "end")
    return tag("g", tag("line", x1=x, x2=x, y1=y - 10, y2=bottom, class_="room"), text)


FORMS: dict[str, Callable[[Sequence[Plan]], str]] = {".html": plan_page, ".svg": plan_svg}
HEADS: tuple[Child, ...] = ("file", "size", "memory", "pp", "tg", "trust", "first token", "answer", "fits")


def row(one: Plan, several: bool) -> list[Child]:
    """Return a plan as cells of a table."""
    name = f"{one.model} {one.quant} on {one.device}" if several else one.quant
    trusted = "/".join(str(one.told[name].trust) if name in one.told else "-" for name in ("prefill", "decode"))
    cells = (
        size(one.bytes), size(_needed(one)), _speed(one.pp_tps), _speed(one.tg_tps), trusted,
        _seconds(one.ttft_s), _seconds(one.answer_s), one.room,
    )  # fmt: skip
    return [name, *(tag("td", cell) for cell in cells)]


def _mark(one: Plan, speed: float, number: int, x: float, y: Scale) -> Markup:
    low, high = one.tg_interval or (speed, speed)
    parts = [
        tag("title", f"{one.model} {one.quant} on {one.device}: {speed:g} tokens per second, {size(_needed(one))}"
                     + _ROOM[one.room]),
        tag("line", x1=x, x2=x, y1=y(high), y2=y(low), class_="whisker") if one.tg_interval else None,
        _shape(number, x, y(speed), _CLASS[one.room]),
    ]  # fmt: skip
    return tag("g", *parts, color=_colour(number))


def _colour(number: int) -> str:
    """Return the colour of a series, which can be read on a light page and on a dark one."""
    return f"hsl({(_HUE + _TURN * number) % 360:.0f} {(70, 50)[number // 8 % 2]}% {(50, 42, 60)[number // 4 % 3]}%)"


def _shape(number: int, x: float, y: float, class_: str) -> Markup:
    """Return the mark of a series: neighbours differ in shape too, for who cannot tell the colours."""
    kind = number % 4
    if kind == 0:
        return tag("circle", cx=x, cy=y, r=6, class_=class_)
    corners = (
        ((-5.5, -5.5), (5.5, -5.5), (5.5, 5.5), (-5.5, 5.5)),
        ((0, -7), (6.5, 5), (-6.5, 5)),
        ((0, -7.5), (7.5, 0), (0, 7.5), (-7.5, 0)),
    )[kind - 1]
    drawn = " L".join(f"{x + across:.1f} {y + down:.1f}" for across, down in corners)
    return tag("path", d=f"M{drawn} Z", class_=class_)


def _labels(known: Sequence[tuple[Plan, float]], scales: tuple[Scale, Scale], area: Box, taken: Sequence[Box]) -> list[Markup]:
    """Return the names of the marks, clear of each other and of what is drawn already."""
    x, y = scales
    dots = [(one.quant, x(float(_needed(one))), y(speed)) for one, speed in known]
    # the same quantisation on boards of one family stands almost in one place: one name is enough there
    near = [[dot for dot in dots[:number] if _is_beside(dot, one)] for number, one in enumerate(dots)]
    names = ["" if others else one[0] for one, others in zip(dots, near, strict=True)]
    places = [(dot[1], dot[2], len(name) * _CHARACTER) for dot, name in zip(dots, names, strict=True)]
    spans = [one.tg_interval or (speed, speed) for one, speed in known]
    whiskers = [(place[0] - 6, y(span[1]), place[0] + 6, y(span[0])) for place, span in zip(places, spans, strict=True)]
    spots = place_labels(places, whiskers, area, taken)
    return [
        tag("g", _leader(place, at), tag("text", name, x=at[0], y=at[1], class_="label", text_anchor="middle"))
        for name, place, at in zip(names, places, spots, strict=True)
        if name
    ]


def _leader(place: tuple[float, float, float], at: tuple[float, float]) -> Markup | None:
    """Return the line from a mark to its label, where that stands far from it."""
    x, y, width = place
    end_x, end_y = min(max(x, at[0] - width / 2), at[0] + width / 2), at[1] - 4
    if hypot(end_x - x, end_y - y) < _LEAD:
        return None
    return tag("line", x1=x, x2=end_x, y1=y, y2=end_y + (6 if end_y < y else -6), class_="leader")


def _is_beside(one: tuple[str, float, float], other: tuple[str, float, float]) -> bool:
    return one[0] == other[0] and abs(one[1] - other[1]) < _NEAR and abs(one[2] - other[2]) < _NEAR


def _legend(series: Sequence[tuple[str, str]], top: float) -> tuple[list[Markup], float]:
    """Return what each mark stands for, below the picture, and where it ends: the model and the device where they differ."""
    several = [len({one[place] for one in series}) > 1 for place in (0, 1)]
    names = [" on ".join(part for part, shown in zip(one, several, strict=True) if shown) for one in series]
    if len(series) < 2:
        return [], top - 18
    columns = max(1, min(4, int((WIDTH - 60) / (max(map(len, names)) * _CHARACTER + 30))))
    wide = (WIDTH - 60) / columns
    found = []
    for number, name in enumerate(names):
        x, y = 66 + wide * (number % columns), top + _LINE * (number // columns)
        shape = _shape(number, x, y - 4, "dot")
        found.append(tag("g", shape, tag("text", name, x=x + 14, y=y, class_="label"), color=_colour(number)))
    return found, top + _LINE * ((len(names) - 1) // columns) + 10


def _needed(one: Plan) -> int:
    return sum(count for purpose, count in one.memory.items() if purpose not in ("available", "reserve"))


def _devices(plans: Sequence[Plan]) -> set[str]:
    return {one.device for one in plans}


def _models(plans: Sequence[Plan]) -> set[str]:
    return {one.model for one in plans}


def _speed(speed: float | None) -> str:
    return f"{speed:g}" if speed else "?"


def _seconds(count: float | None) -> str:
    return f"{count:.3g} s" if count else "?"
