"""The part of a report that says which quantisations were tried and why one ships: a plot, and every figure in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pillm.report.charts import drawing, grid_line, size_axis
from pillm.report.elements import Markup, tag
from pillm.report.plots import SLIM, WIDE, section
from pillm.report.scales import Box, Scale, log_ticks, place_labels
from pillm.report.tables import table
from pillm.report.words import loss, percent, score, size, speed

HEADS = ("file", "size", "divergence", "same token", "score", "decode tok/s", "prefill tok/s", "")
_CHARACTER = 7.2
_LEAST = 1e-7


def choice_section(report: Mapping[str, Any]) -> Markup | None:
    """Return the section, where an exporter chose among quantisations."""
    choice = report.get("choice")
    if not choice:
        return None
    trials = choice["trials"]
    plotted = [trial for trial in trials if trial["kld"] > 0]
    figure = None
    if len(plotted) > 1:
        figure = tag("figure", *(divergence_against_size(plotted, choice["picked"], width) for width in (WIDE, SLIM)))
    seen = "rows that were trained on" if choice.get("seen") else "validation texts"
    lead = (
        f"Each mark is a file that was made and compared with the unquantised one on {_rows(choice.get('compared'))}{seen}. "
        "Down is closer to it, left is smaller; the line joins the files that no other beats in everything."
        f"{_scored(choice)}"
    )
    rows = [[trial["name"], *(tag("td", cell) for cell in cells(trial, choice["picked"])[1:])] for trial in trials]
    told = tag("p", choice["reason"], class_="lead") if choice["reason"] else None
    return section("choice", "How the quantisation was chosen", lead, told, figure, table(HEADS, rows))


def _rows(count: int | None) -> str:
    return f"{count} " if count else ""


def _scored(choice: Mapping[str, Any]) -> str:
    """Return what the score rests on, in a sentence."""
    if not choice.get("scored") or not choice.get("metric"):
        return ""
    return f" The score is {choice['metric']} on {choice['scored']} rows, asked of the files on the line alone."


def cells(trial: Mapping[str, Any], picked: str | None) -> list[str]:
    """Return a trial's figures in words, in the order of `HEADS`."""
    mark = "ships" if trial["name"] == picked else "kept" if trial["kept"] else "" if trial["front"] else "beaten"
    top1 = "–" if trial["top1"] is None else percent(trial["top1"])
    divergence = loss(trial["kld"]) if trial["kld"] else "0"
    figures = [size(trial["bytes"]), divergence, top1, score(trial["score"]), speed(trial["tg_tps"]), speed(trial["pp_tps"])]
    return [trial["name"], *figures, mark]


def divergence_against_size(trials: Sequence[Mapping[str, Any]], picked: str | None, width: int) -> Markup:
    """Return a scatter plot of divergence against bytes, both logarithmic; the front is joined by a line."""
    height = 360 if width > 500 else 300
    left, right, top, bottom = 62, width - 16, 22, height - 44
    sizes, divergences = [float(one["bytes"]) for one in trials], [max(one["kld"], _LEAST) for one in trials]
    x = Scale(min(sizes) / 1.15, max(sizes) * 1.15, left, right, log=True)
    y = Scale(min(divergences) / 1.6, max(divergences) * 1.6, bottom, top, log=True)
    grid = [grid_line(left, right, y(tick), f"{tick:g}") for tick in log_ticks(y.low, y.high)]
    axis = size_axis(x, bottom)
    titles = [
        tag("text", "divergence, nats per token, logarithmic", x=left - 52, y=12, class_="axis"),
        tag("text", "bytes, logarithmic →", x=right, y=height - 6, class_="axis", text_anchor="end"),
    ]
    places = [(x(size_), y(kld)) for size_, kld in zip(sizes, divergences, strict=True)]
    ends = sorted(place for place, one in zip(places, trials, strict=True) if one["front"])
    joined = " ".join(f"{across:.1f},{down:.1f}" for across, down in ends)
    line = tag("polyline", points=joined, fill="none", class_="teacher-line") if len(ends) > 1 else None
    marks = [_mark(one, place, picked) for one, place in zip(trials, places, strict=True)]
    labels = _labels(trials, places, picked, (left, top - 12, right, bottom))
    about = "divergence against size: " + "; ".join(_title(one) for one in trials)
    return drawing(width, height, about, grid, axis, titles, [line], marks, labels)


def _title(trial: Mapping[str, Any]) -> str:
    return f"{trial['name']}: {loss(trial['kld'])} nats, {size(trial['bytes'])}"


def _mark(trial: Mapping[str, Any], place: tuple[float, float], picked: str | None) -> Markup:
    chosen = trial["name"] == picked
    return tag(
        "g",
        tag("title", _title(trial)),
        tag("circle", cx=place[0], cy=place[1], r=11, class_="halo") if chosen else None,
        tag("circle", cx=place[0], cy=place[1], r=6 if trial["front"] else 4, class_="dot"),
        class_="k-model" if trial["front"] else "k-base",
    )


def _labels(
    trials: Sequence[Mapping[str, Any]], places: Sequence[tuple[float, float]], picked: str | None, area: Box
) -> list[Markup]:
    """Return the names of the files of the front and of the pick, clear of each other and of all dots."""
    named = [(one, at) for one, at in zip(trials, places, strict=True) if one["front"] or one["name"] == picked]
    widths = [(across, down, len(one["name"]) * _CHARACTER) for one, (across, down) in named]
    spots = place_labels(widths, [(at[0] - 8, at[1] - 8, at[0] + 8, at[1] + 8) for _, at in named], area)
    return [
        tag(
            "text", one["name"], x=spot[0], y=spot[1], text_anchor="middle",
            class_="label picked" if one["name"] == picked else "label",
        )
        for (one, _), spot in zip(named, spots, strict=True)
    ]  # fmt: skip
