"""The top of the page: the verdict in a sentence, and four cards of figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pillm.report.elements import Child, Markup, tag
from pillm.report.headline import MARKS, basis, gates_sentence, headline, is_pick, pick_speed
from pillm.report.words import count, interval, percent, score, set_title, size, speed

LINKS = (
    ("size", "Size"), ("choice", "Choice"), ("lost", "What was lost"), ("sets", "Sets"), ("speed", "Speed"),
    ("device", "Device"), ("tags", "Tags"), ("training", "Training"), ("run", "The run"), ("wrong", "Wrong rows"),
)  # fmt: skip


def hero(report: Mapping[str, Any]) -> Markup:
    """Return the verdict: what was distilled, how small, how good, how fast, and whether the gates were met."""
    gates = gates_sentence(report)
    pieces = [tag("em", piece) if strong else piece for piece, strong in headline(report)]
    badge = None
    if gates:
        tone = {True: "good", False: "bad", None: "unsure"}[gates[1]]
        badge = tag("span", f"{MARKS[gates[1]]} ", gates[0], class_=f"badge {tone}")
    when = tag("time", str(report["at"])[:10], datetime=report["at"])
    others = _other_sets(report)
    eyebrow = tag("p", tag("b", "pillm"), " · run ", tag("b", report["recipe"]), " · ", when, class_="eyebrow")
    return tag("header", eyebrow, tag("h1", *pieces), others, badge, class_="hero")


def _other_sets(report: Mapping[str, Any]) -> Markup | None:
    """Return the chosen file's score on the sets that the headline does not speak of."""
    chosen, metric = report["pick"], report["main"]["metric"]
    if chosen is None:
        return None
    found: dict[str, dict[str, float]] = {}
    for one in report["evaluations"]:
        who = "teacher" if one["kind"] == "teacher" else "ours" if is_pick(report, one) else None
        if who and one["set"] != report["main"]["set"] and metric in one["metrics"]:
            found.setdefault(one["set"], {})[who] = one["metrics"][metric]["mean"]
    told = []
    for name, by in found.items():
        teacher = f" (teacher {score(by['teacher'])})" if "teacher" in by else ""
        told.append(f"{set_title(name).lower()} {score(by.get('ours'))}{teacher}")
    return tag("p", f"On other sentences, {metric}: {', '.join(told)}.", class_="others") if told else None


def navigation(shown: set[str]) -> Markup:
    """Return links to the sections that are there."""
    links = [tag("a", title, href=f"#{name}") for name, title in LINKS if name in shown]
    return tag("nav", *links, aria_label="Sections")


def cards(report: Mapping[str, Any]) -> Markup:
    """Return the four cards: size, quality, speed, rows."""
    return tag("div", _size_card(report), _quality_card(report), _speed_card(report), _rows_card(report), class_="cards")


def _card(title: str, figure: str, about: Child, extra: Markup | None = None) -> Markup:
    shown = tag("p", figure, class_="figure")
    return tag("section", tag("h2", title), shown, tag("p", about, class_="about"), extra, class_="card")


def _size_card(report: Mapping[str, Any]) -> Markup | None:
    chosen = report["pick"]
    if chosen is None or chosen["bytes"] is None:
        return None
    before = report["sizes"].get("teacher")
    if not before:
        return _card("Size", size(chosen["bytes"]), " ".join(filter(None, (f"{chosen['quant']}.", _why(chosen)))))
    share = chosen["bytes"] / before
    bars = tag(
        "div",
        tag("i", style="width:100%", class_="before"),
        tag("i", style=f"width:{max(100 * share, 1):.1f}%", class_="after"),
        class_="twobars",
        aria_hidden="true",
    )
    return _card(
        "Size",
        size(chosen["bytes"]),
        f"{chosen['quant']}; the teacher is {size(before)}, {1 / share:.1f} times that. {_why(chosen)}",
        bars,
    )


def _why(chosen: Mapping[str, Any]) -> str:
    """Return what the file was chosen by, as a sentence; reports of before do not say it."""
    why = str(chosen.get("why") or "")
    return f"Chosen: {why}." if why else ""


def _quality_card(report: Mapping[str, Any]) -> Markup | None:
    chosen = report["pick"]
    if chosen is None:
        return None
    metric, name = report["main"]["metric"], report["main"]["set"]
    found = next(one for one in report["evaluations"] if is_pick(report, one) and one["set"] == name)
    figure = found["metrics"][metric]
    about: list[Child] = [
        f"{metric} {score(chosen['score'])} {interval(figure)} on {count(found['rows'])} {set_title(name).lower()} rows"
    ]
    if chosen["teacher"] is not None:
        about.append(f"; teacher {score(chosen['teacher'])}")
    if chosen["base"] is not None:
        about.append(f", untrained base {score(chosen['base'])}")
    if chosen["kept"] is None:
        return _card("Score", score(chosen["score"]), about)
    bar = tag("div", tag("i", style=f"width:{min(100 * chosen['kept'], 100):.1f}%"), class_="meter", aria_hidden="true")
    return _card("Score kept", percent(chosen["kept"]), about, bar)


def _speed_card(report: Mapping[str, Any]) -> Markup | None:
    fast = pick_speed(report)
    if fast is None:
        return None
    others = [one for one in report["benchmarks"] if one["model"] == fast["model"] and one is not fast]
    about: list[Child] = ["tokens per second on ", tag("b", fast["device"]), ", ", _basis(fast)]
    for one in others[:2]:
        about += [tag("br"), f"{speed(one['tg_tps'])} on {one['device']}, ", _basis(one)]
    return _card("Decode speed", speed(fast["tg_tps"]), about)


def _basis(benchmark: Mapping[str, Any]) -> Markup:
    return tag("span", basis(benchmark), class_=f"basis {benchmark['basis']}")


def _rows_card(report: Mapping[str, Any]) -> Markup:
    rows, parity = report["rows"], report["parity"]
    ended = [f"{count(rows[fate])} {fate}" for fate in ("answered", "rejected", "failed", "pending") if rows[fate]]
    about: list[Child] = [" + ".join(ended) or "none"]
    if parity:
        fine = parity["mismatches"] == 0
        told = f"{'✓' if fine else '✗'} token parity: {parity['mismatches']} mismatches in {count(parity['rows'])} rows"
        about += [tag("br"), tag("span", told, class_="good-text" if fine else "bad-text")]
    return _card("Rows", count(rows["in"]), about)
