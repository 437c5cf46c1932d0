"""How the files' speeds went from measurement to measurement of one run folder, as data, as text and as plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pillm.performance.medians import median
from pillm.performance.trend import sparkline
from pillm.records import JSONObject
from pillm.report.charts import drawing, grid_line
from pillm.report.elements import Markup, tag
from pillm.report.scales import Scale, round_ticks
from pillm.report.words import speed

if TYPE_CHECKING:
    from pillm.performance.trend import Series

_MOST = 60
_WIDTH, _HEIGHT = 430, 170


def trend_document(series: Iterable[Series]) -> list[JSONObject]:
    """Return the decode speed of each measurement and its 95 % interval, of each series of two or more.

    Where another file came to have the name of one, both are told, however few their measurements.
    """
    known = list(series)
    replaced = {(one.model, one.replaces) for one in known if one.replaces}
    return [
        {
            "model": one.model,
            "device": one.device,
            "sha256": one.sha256,
            "replaces": one.replaces,
            "pp": one.pp,
            "tg": one.tg,
            "basis": one.basis,
            "measured": [
                {
                    "number": each.sequence,
                    "at": each.at,
                    "pp_tps": each.record.pp_tps,
                    "tg_tps": each.record.tg_tps,
                    "low": (found := median(each.record.speeds("tg_tps"))).low,
                    "high": found.high,
                    "void": list(each.record.void),
                }
                for each in one.measured[-_MOST:]
            ],
        }
        for one in known
        if len(one.measured) > 1 or one.replaces or (one.model, one.sha256) in replaced
    ]


def trend_lines(report: Mapping[str, Any]) -> list[str]:
    """Return a line of text per series: what it began and ended with, and how it went between."""
    lines, files = [], _files(report)
    for one in report.get("trends", ()):
        values = [each["tg_tps"] for each in one["measured"]]
        void = sum(bool(each["void"]) for each in one["measured"])
        disturbed = f", {void} void" if void else ""
        went = f"{speed(values[0])} to {speed(values[-1])} tok/s over {len(values)} measurements"
        told = f"{sparkline(values)} {went if len(values) > 1 else f'{speed(values[0])} tok/s, measured once'}{disturbed}"
        lines.append(f"{one['model']}{files[one.get('sha256')]} on {one['device']}{_basis(one)}: {told}")
    return lines


def _basis(one: Mapping[str, Any]) -> str:
    return "" if one.get("basis", "measured") == "measured" else f" ({one['basis']})"


def _files(report: Mapping[str, Any]) -> dict[str | None, str]:
    """Return which file of several that had one name each is, by sha256; empty where there was but one."""
    told: dict[str | None, str] = {}
    for one in report.get("trends", ()):
        told.setdefault(one.get("sha256"), "")
        if before := one.get("replaces"):
            told[before] = told.get(before) or f" ({before[:8]})"
            told[one["sha256"]] = f" ({one['sha256'][:8]}, which took the place of {before[:8]})"
    return told


def trend_panels(report: Mapping[str, Any], title: Any) -> Markup | None:
    """Return a plot of decode speeds per series, oldest first; `title` names a model file."""
    files = _files(report)
    panels = [
        tag("div",
            tag("h3", title(report, one["model"]), files[one.get("sha256")], " ",
                tag("span", one["device"], class_=f"basis {one.get('basis', 'measured')}")),
            trend_plot(one["measured"], _WIDTH), class_="panel")
        for one in report.get("trends", ())
    ]  # fmt: skip
    if not panels:
        return None
    lead = (
        "Decode from measurement to measurement of this folder, with 95 % intervals. Hollow ones are void: the machine "
        "disturbed them, and the line passes them by. A file that was made anew under the same name has a line of its own."
    )
    head = (tag("h3", "Since the first measurement"), tag("p", lead, class_="lead"))
    return tag("div", *head, tag("div", *panels, class_="panels"))


def trend_plot(measured: Sequence[Mapping[str, Any]], width: int) -> Markup:
    """Return the decode speeds of measurements as dots with whiskers, and a line through those that count."""
    left, right, top, bottom = 62, width - 22, 16, _HEIGHT - 30
    high = max(max(one["high"], one["tg_tps"]) for one in measured)
    y = Scale(0.0, high * 1.08 or 1.0, bottom, top)
    x = Scale(0, len(measured) - 1, left + 14, right)
    grid = [grid_line(left, right, y(tick), f"{tick:g}") for tick in round_ticks(0.0, y.high, 4)]
    counted = [(x(place), y(one["tg_tps"])) for place, one in enumerate(measured) if not one["void"]]
    line = tag("polyline", points=" ".join(f"{at:.1f},{level:.1f}" for at, level in counted), class_="curve")
    dots = [_dot(one, x(place), y) for place, one in enumerate(measured)]
    ends = [
        tag("text", f"number {one['number']}", x=at, y=_HEIGHT - 8, class_="tick", text_anchor=anchor)
        for one, at, anchor in ((measured[0], left + 2, "start"), (measured[-1], right + 8, "end"))
    ]
    about = "decode over measurements: " + "; ".join(f"{one['number']}: {speed(one['tg_tps'])}" for one in measured)
    return drawing(width, _HEIGHT, about, grid, ends, [tag("g", line, *dots, class_="k-model")])


def _dot(one: Mapping[str, Any], at: float, y: Scale) -> Markup:
    void = f", void: {'; '.join(one['void'])}" if one["void"] else ""
    level = y(one["tg_tps"])
    return tag(
        "g",
        tag("title", f"number {one['number']}, {one['at'][:10]}: {speed(one['tg_tps'])} tokens per second{void}"),
        tag("line", x1=at, x2=at, y1=y(one["low"]), y2=y(one["high"]), class_="whisker"),
        tag("circle", cx=at, cy=level, r=4, class_="void" if void else "dot"),
    )
