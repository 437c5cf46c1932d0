"""The page's tables: every subject on every set, tags, files, gates and the facts of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pillm.gates import figure_text
from pillm.report.elements import Child, Markup, tag
from pillm.report.headline import MARKS, is_pick
from pillm.report.plots import section
from pillm.report.words import SET_NOTES, count, duration, interval, score, set_title, size, subject_title

MAX_TAGS = 40


def table(heads: Sequence[Child], rows: Iterable[Sequence[Child]], class_: str = "") -> Markup:
    """Return a table whose first column names the rows; it scrolls by itself where it is wider than the screen."""
    head = tag("thead", tag("tr", *(tag("th", one, scope="col") for one in heads)))
    body = [tag("tr", tag("th", first, scope="row"), *rest) for first, *rest in rows]
    return tag("div", tag("table", head, tag("tbody", *body), class_=class_ or None), class_="scroll")


def sets_section(report: Mapping[str, Any]) -> Markup | None:
    """Return every metric of every subject, one table per set: what was held out, written by hand, written by others."""
    names = list(dict.fromkeys(one["set"] for one in report["evaluations"]))
    if not names:
        return None
    tables = [_set_table(report, name) for name in names]
    lead = "Different kinds of rows, never mixed into one score. Small figures are 95 % intervals."
    return section("sets", "Every subject on every set", lead if len(names) > 1 else "", *tables)


def _set_table(report: Mapping[str, Any], name: str) -> Markup:
    found = [one for one in report["evaluations"] if one["set"] == name]
    metrics = list(dict.fromkeys(metric for one in found for metric in one["metrics"]))
    rows = []
    for one in found:
        lost = [f"{count(one['failed'])} without answer"] if one["failed"] else []
        lost += [f"{count(one['cut'])} cut off"] if one["cut"] else []
        star = tag("span", " ★", title="the file the headline speaks of") if is_pick(report, one) else None
        title = [tag("span", subject_title(one), class_=f"name k-{one['kind']}", title=one["subject"]), star]
        rows.append(
            [
                title,
                *(heat(one["metrics"].get(metric), one["rows"]) for metric in metrics),
                tag("td", ", ".join(lost), class_="dim"),
            ]
        )
    compared = " / ".join(dict.fromkeys(one["compared_with"] for one in found))
    about = f"{SET_NOTES.get(name, '')} {count(found[0]['rows'])} rows, compared with the {compared}."
    return tag(
        "div", tag("h3", set_title(name)), tag("p", about.strip(), class_="dim"), table(["", *metrics, ""], rows, "heat")
    )


def heat(figure: Mapping[str, Any] | None, rows: int = 0) -> Markup:
    """Return a cell whose colour deepens with the score; it says to how many rows the metric applied where not to all."""
    if figure is None:
        return tag("td", "–", class_="none")
    depth = max(0.0, min(figure["mean"], 1.0)) ** 3
    applied = f" n={count(figure['rows'])}" if rows and figure["rows"] < rows else ""
    return tag("td", tag("b", score(figure["mean"])), tag("small", interval(figure) + applied), style=f"--depth:{depth:.3f}")


def tags_section(report: Mapping[str, Any]) -> Markup | None:
    """Return the main metric by tag for teacher and chosen file, the weakest tags first."""
    metric, name = report["main"]["metric"], report["main"]["set"]
    shown = [
        one
        for one in report["evaluations"]
        if one["set"] == name and (one["kind"] in ("teacher", "checkpoint") or is_pick(report, one))
    ]
    ours = next((one for one in shown if is_pick(report, one)), None)
    if ours is None or not ours["tags"]:
        return None
    names = sorted(
        (tag_ for tag_, found in ours["tags"].items() if metric in found), key=lambda tag_: ours["tags"][tag_][metric]["mean"]
    )
    rows = [
        [
            name_,
            *(heat(one["tags"].get(name_, {}).get(metric)) for one in shown),
            tag("td", count(ours["tags"][name_][metric]["rows"])),
        ]
        for name_ in names[:MAX_TAGS]
    ]
    more = f" The weakest {MAX_TAGS} of {len(names)}." if len(names) > MAX_TAGS else ""
    lead = f"{metric} on the {set_title(name).lower()} rows, the weakest tag first.{more}"
    return section("tags", "By tag", lead, table(["tag", *(subject_title(one) for one in shown), "rows"], rows, "heat"))


def run_section(report: Mapping[str, Any]) -> Markup:
    """Return files with their hashes, gates, rows, time and versions."""
    body: list[Child] = [
        _files(report),
        _gates(report),
        tag("div", _balance(report), _times(report), _versions(report), class_="facts"),
    ]
    body += [tag("ul", *(tag("li", note) for note in report["notes"]), class_="notes")] if report["notes"] else []
    return section("run", "The run", "", *body)


def _files(report: Mapping[str, Any]) -> Markup | None:
    rows = [
        [
            tag("code", one["file"]),
            tag("td", one["quant"]),
            tag("td", size(one["bytes"])),
            tag("td", _divergence(one)),
            tag("td", tag("code", one["sha256"], class_="hash")),
        ]
        for one in report["models"]
    ]
    return tag("div", tag("h3", "Files"), table(["file", "quant", "size", "KLD", "sha256"], rows, "files")) if rows else None


def _divergence(model: Mapping[str, Any]) -> str:
    found = model.get("divergence")
    return f"{found['mean']:.2g} (top-1 {found['top1']:.1%})" if found else "-"


def _gates(report: Mapping[str, Any]) -> Markup | None:
    rows = [
        [
            one["gate"],
            tag("td", one["model"]),
            tag("td", figure_text(one["gate"], one["value"])),
            tag("td", figure_text(one["gate"], one["bound"])),
            tag("td", _fate(one), class_={True: "good-text", False: "bad-text", None: "unsure-text"}[one["met"]]),
        ]
        for one in report["gates"]
    ]
    return tag("div", tag("h3", "Gates"), table(["gate", "file", "value", "bound", ""], rows, "gates")) if rows else None


def _fate(gate: Mapping[str, Any]) -> str:
    reason = gate.get("reason")
    said = {True: "met", False: "not met", None: "not judged"}[gate["met"]]
    return f"{MARKS[gate['met']]} {said}" + (f": {reason}" if reason else "")


def _balance(report: Mapping[str, Any]) -> Markup:
    rows = report["rows"]
    total = max(rows["in"], 1)
    fates = ("answered", "rejected", "failed", "pending")
    bar = [tag("i", style=f"width:{100 * rows[fate] / total:.2f}%", class_=fate) for fate in fates if rows[fate]]
    told = f"{count(rows['in'])} in = " + " + ".join(f"{count(rows[fate])} {fate}" for fate in fates)
    split = ", ".join(f"{name} {count(number)}" for name, number in report["splits"].items())
    return tag(
        "div",
        tag("h3", "Rows"),
        tag("div", *bar, class_="stack", role="img", aria_label=told),
        tag("p", told),
        tag("p", split, class_="dim"),
    )


def _times(report: Mapping[str, Any]) -> Markup | None:
    seconds = report["seconds"]
    if not seconds:
        return None
    longest = max(seconds.values()) or 1.0
    rows = [
        tag(
            "div",
            tag("dt", stage),
            tag("dd", tag("i", style=f"--share:{value / longest:.3f}"), tag("span", duration(value))),
        )
        for stage, value in seconds.items()
    ]
    return tag("div", tag("h3", f"Time: {duration(sum(seconds.values()))}"), tag("dl", *rows, class_="times"))


def _versions(report: Mapping[str, Any]) -> Markup | None:
    pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in report["versions"].items()]
    return tag("div", tag("h3", "Versions"), tag("dl", *pairs, class_="versions")) if pairs else None
