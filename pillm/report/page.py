"""`report.html`: one file that needs nothing else: no script, no request, light and dark, paper too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from pillm.report.choice import choice_section
from pillm.report.elements import raw, tag
from pillm.report.headline import headline_text
from pillm.report.ondevice import device_section
from pillm.report.overview import cards, hero, navigation
from pillm.report.plots import lost_section, size_section, speed_section, training_section
from pillm.report.tables import run_section, sets_section, tags_section
from pillm.report.wrongrows import wrong_section

STYLE = Path(__file__).with_name("style.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_SECTIONS = {
    "size": size_section,
    "choice": choice_section,
    "lost": lost_section,
    "sets": sets_section,
    "speed": speed_section,
    "device": device_section,
    "tags": tags_section,
    "training": training_section,
    "run": run_section,
    "wrong": wrong_section,
}


def page(report: Mapping[str, Any]) -> str:
    """Return a report document as one HTML page."""
    made = {name: make(report) for name, make in _SECTIONS.items()}
    shown = {name: part for name, part in made.items() if part is not None}
    version = report["versions"].get("pillm", "")
    foot = tag(
        "footer",
        f"Made by pillm {version}".strip(), ". Every figure here is in ", tag("code", "report.json"), "; ",
        tag("code", f"pillm verify {quote(report.get('folder') or '.')}"),
        " checks each file against its sha256." if report.get("folder") else ", said in this folder, checks each file.",
    )  # fmt: skip
    body = tag("body", tag("main", hero(report), cards(report), navigation(set(shown)), *shown.values(), foot))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="description", content=headline_text(report)),
        tag("title", f"{report['recipe']} · pillm"),
        tag("style", raw(STYLE.read_text("utf-8"))),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"
