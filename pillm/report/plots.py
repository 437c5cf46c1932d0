"""The page's sections with plots: quality against size, where quality was lost, tokens per second, the loss curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pillm.report.charts import Bar, Point, quality_against_size, quality_ladder, speed_bars
from pillm.report.elements import Child, Markup, tag
from pillm.report.headline import is_pick, is_void, void_lines
from pillm.report.losscurve import loss_curve
from pillm.report.trainingfacts import training_facts, training_sentence
from pillm.report.trends import trend_panels
from pillm.report.words import certain, set_title, signed, subject_title

WIDE, BESIDE, SLIM = 880, 640, 360
_BASIS_NOTES = {
    "measured": "measured on this machine",
    "predicted": "predicted by arithmetic, not measured",
    "emulated": "run in an emulator",
}


def section(name: str, title: str, lead: Child, *body: Child) -> Markup:
    """Return a section of the page with its heading and a sentence that says how to read it."""
    return tag("section", tag("h2", title), tag("p", lead, class_="lead") if lead else None, *body, id=name, class_="part")


def size_section(report: Mapping[str, Any]) -> Markup | None:
    """Return the plot of quality against size, where two sizes or more are known."""
    points = [point for point, _ in _points(report)]
    if sum(point.bytes is not None for point in points) < 2:
        return None
    metric = report["main"]["metric"]
    lead = (
        f"Each mark is one file scored on the same {set_title(report['main']['set']).lower()} rows, with its 95 % interval. "
        "Up is better, left is smaller. The band is the teacher."
    )
    return section("size", "Quality against size", lead, _both(lambda width: quality_against_size(points, metric, width)))


def lost_section(report: Mapping[str, Any]) -> Markup | None:
    """Return the ladder from the teacher down to each file, with the paired difference of every step."""
    losses = {(step["to_kind"], step["to"]): step for step in report["ladder"] if step["from_kind"] != "base"}
    points = [_rung(point, losses.get((point.kind, subject))) for point, subject in _points(report)]
    if len(points) < 2:
        return None
    lead = (
        "Paired differences over the same rows: the checkpoint against the teacher, the largest file against the checkpoint, "
        "every other file against the largest. Coloured differences are beyond chance, grey ones are not."
    )
    metric = report["main"]["metric"]
    drawn = _both(lambda width: quality_ladder(points, metric, width))
    return section("lost", "Where quality was lost", lead, _verdict(report), drawn, _first_rows(report))


def _verdict(report: Mapping[str, Any]) -> Markup | None:
    """Return at which stage most was lost, as a sentence."""
    sentence = report.get("lost", {}).get("sentence")
    return tag("p", tag("b", sentence), class_="lead") if sentence else None


def _first_rows(report: Mapping[str, Any]) -> Markup | None:
    """Return, for each stage that lost, the first row that it made worse."""
    lost = [one for one in report.get("lost", {}).get("stages", ()) if one.get("first")]
    rows = [
        tag("li", tag("b", f"{one['stage']}, {one['to']}"), ": ", tag("q", one["first"]["prompt"]), " ",
            tag("code", one["first"]["was"] or "(nothing)"), " became ", tag("code", one["first"]["became"] or "(nothing)"))
        for one in lost
    ]  # fmt: skip
    return tag("ul", *rows, class_="notes") if rows else None


def speed_section(report: Mapping[str, Any]) -> Markup | None:
    """Return tokens per second by device and basis, decode and prefill apart; predicted bars are dashed."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in report["benchmarks"]:
        groups.setdefault((one["device"], one["basis"]), []).append(one)
    if not groups:
        return None
    panels = [_panel(report, device, basis, found) for (device, basis), found in groups.items()]
    lead = "Decode writes the answer, prefill reads the prompt. Solid bars were measured, dashed ones are arithmetic."
    if any(map(is_void, report["benchmarks"])):
        lead += " Hatched ones are void: the machine was disturbed."
    verdicts = [tag("li", tag("b", _title(report, one["model"])), " ", one["verdict"]) for one in report["plans"]]
    plans = (
        tag("details", tag("summary", "What the plan says, file by file"), tag("ul", *verdicts), open=True)
        if verdicts
        else None
    )
    shown = tag("div", *panels, class_="panels")
    void = tag("ul", *(tag("li", line) for line in lines), class_="notes") if (lines := void_lines(report)) else None
    return section("speed", "Tokens per second", lead, shown, void, plans, trend_panels(report, _title))


def training_section(report: Mapping[str, Any]) -> Markup | None:
    """Return the loss curve with a training's figures beside it, where the trainer left any."""
    training = report.get("training")
    if not training:
        return None
    about = training_sentence(training)
    drawn = training["loss"] or training["validation"]
    curve = _both(lambda width: loss_curve(training, about, width), BESIDE) if drawn else None
    figures = tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in training_facts(training)))
    return section("training", "Training", about, tag("div", curve, figures, class_="training"))


def _panel(report: Mapping[str, Any], device: str, basis: str, found: Sequence[Mapping[str, Any]]) -> Markup:
    chosen = (report["pick"] or {}).get("model")
    shown: list[Child] = []
    for key, title in (("tg_tps", "Decode"), ("pp_tps", "Prefill")):
        rows = [
            Bar(label=_title(report, one["model"]), value=one[key], picked=one["model"] == chosen, void=is_void(one))
            for one in found
            if one[key] is not None
        ]
        if rows:
            shown += [tag("h4", title), speed_bars(rows, basis, 430)]
    far = "; extrapolated" if any(one.get("details", {}).get("extrapolated") for one in found) else ""
    head = tag("h3", device, " ", tag("span", f"{_BASIS_NOTES[basis]}{far}", class_=f"basis {basis}"))
    return tag("div", head, *shown, class_="panel")


def _title(report: Mapping[str, Any], model: str) -> str:
    quants = {one["file"].rpartition("/")[2]: one["quant"] for one in report["models"]}
    return str(quants.get(model, model))


def _points(report: Mapping[str, Any]) -> list[tuple[Point, str]]:
    """Return the scored subjects of the main set with their names: teacher, checkpoint, files from large to small, the base."""
    metric, name = report["main"]["metric"], report["main"]["set"]
    bytes_ = {one["file"].rpartition("/")[2]: one["bytes"] for one in report["models"]} | dict(report["sizes"])
    order = {"teacher": 0, "checkpoint": 1, "model": 2, "base": 3}  # others are scored on some of the rows only
    found = [one for one in report["evaluations"] if one["set"] == name and one["kind"] in order and metric in one["metrics"]]
    found.sort(key=lambda one: (order[one["kind"]], -(bytes_.get(one["subject"]) or 0)))
    points = [
        Point(
            label=subject_title(one),
            kind=one["kind"],
            figure=one["metrics"][metric],
            bytes=bytes_.get(one["subject"] if one["kind"] == "model" else one["kind"]),
            picked=is_pick(report, one),
        )
        for one in found
    ]
    return [(point, one["subject"]) for point, one in zip(points, found, strict=True)]


def _rung(point: Point, step: Mapping[str, Any] | None) -> Point:
    if step is None:
        return point
    tone = ("worse" if step["mean"] < 0 else "better") if certain(step) else "same"
    rows = f"{step['better']} up, {step['worse']} down"
    return replace(point, step=signed(step["mean"]), rows=rows, tone=tone)


def _both(draw: Any, wide: int = WIDE) -> Markup:
    """Return a plot twice: one drawing for wide screens and paper, one for a phone; the style shows one of them."""
    return tag("figure", draw(wide), draw(SLIM))
