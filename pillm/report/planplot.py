"""A picture of plans: how fast each file would be against the memory it needs, one mark per model, quantisation and device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
_KINDS = ("model", "teacher", "checkpoint", "adapter", "base")
"""The colours of the page's style, one for each series."""
_CHARACTER = 7.2
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
    sizes = [float(_needed(one)) for one, _ in known]
    speeds = [end for one, speed in known for end in (one.tg_interval or (speed, speed))]
    left, right, top, bottom = 60, WIDTH - 16, 30, HEIGHT - 44
    x = Scale(min(sizes) / 1.3, max(sizes) * 1.3, left, right, log=True)
    y = Scale(min(speeds) / 1.25, max(speeds) * 1.25, bottom, top, log=True)
    rates = log_ticks(y.low, y.high) or round_ticks(y.low, y.high)
    grid = [grid_line(left, right, y(tick), f"{tick:g}") for tick in rates]
    axis = size_axis(x, bottom)
    titles = [
        tag("text", "tokens per second (decode), logarithmic", x=left - 48, y=14, class_="axis"),
        tag("text", "memory needed beside the system, logarithmic →", x=right, y=HEIGHT - 6, class_="axis", text_anchor="end"),
    ]
    marks = [_mark(one, speed, series.index((one.model, one.device)), x(float(_needed(one))), y) for one, speed in known]
    labels = _labels(known, x, y, (left, top - 12, right, bottom))
    about = "decode against memory: " + "; ".join(f"{one.quant} {one.model} on {one.device} {speed:g}" for one, speed in known)
    return drawing(WIDTH, HEIGHT, about, grid, axis, titles, _legend(series, right, top), marks, labels)


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
                     + ("" if one.fits else ", does not fit")),
        tag("line", x1=x, x2=x, y1=y(high), y2=y(low), class_="whisker") if one.tg_interval else None,
        tag("circle", cx=x, cy=y(speed), r=6, class_="dot" if one.fits else "halo"),
    ]  # fmt: skip
    return tag("g", *parts, class_=f"k-{_KINDS[number % len(_KINDS)]}")


def _labels(known: Sequence[tuple[Plan, float]], x: Scale, y: Scale, area: Box) -> list[Markup]:
    dots = [(one.quant, x(float(_needed(one))), y(speed)) for one, speed in known]
    # the same quantisation on boards of one family stands almost in one place: one name is enough there
    near = [[dot for dot in dots[:number] if _is_beside(dot, one)] for number, one in enumerate(dots)]
    names = ["" if others else one[0] for one, others in zip(dots, near, strict=True)]
    places = [(dot[1], dot[2], len(name) * _CHARACTER) for dot, name in zip(dots, names, strict=True)]
    spans = [one.tg_interval or (speed, speed) for one, speed in known]
    whiskers = [(place[0] - 6, y(span[1]), place[0] + 6, y(span[0])) for place, span in zip(places, spans, strict=True)]
    spots = place_labels(places, whiskers, area)
    return [
        tag("text", name, x=at[0], y=at[1], class_="label", text_anchor="middle")
        for name, at in zip(names, spots, strict=True)
        if name
    ]


def _is_beside(one: tuple[str, float, float], other: tuple[str, float, float]) -> bool:
    return one[0] == other[0] and abs(one[1] - other[1]) < _NEAR and abs(one[2] - other[2]) < _NEAR


def _legend(series: Sequence[tuple[str, str]], right: float, top: float) -> list[Markup]:
    """Return what each colour stands for: the model where there are several, the device likewise."""
    several = [len({one[place] for one in series}) > 1 for place in (0, 1)]
    names = [" on ".join(part for part, shown in zip(one, several, strict=True) if shown) for one in series]
    found = []
    for number, name in enumerate(names if len(series) > 1 else []):
        y = top + 14 + 18 * number
        dot = tag("circle", cx=right - 10, cy=y - 4, r=6, class_="dot")
        said = tag("text", name, x=right - 24, y=y, class_="label", text_anchor="end")
        found.append(tag("g", dot, said, class_=f"k-{_KINDS[number % len(_KINDS)]}"))
    return found


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
