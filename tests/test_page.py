"""`report.html`: one file that needs nothing else and obeys nobody."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.report.page import page


def report(**changed: Any) -> dict[str, Any]:
    whole = json.loads((Path(__file__).parent / "data/report.json").read_text("utf-8"))
    return {**whole, **changed}


VOID = {"meta", "br", "hr", "img", "link", "input"}
ALLOWED = """
    html head meta title style body main header nav section article footer div p h1 h2 h3 h4 span b i em q mark small code time
    a br ul li dl dt dd table thead tbody tr th td figure details summary svg g line rect circle polyline text
""".split()  # noqa: SIM905 - a row reads better than a column


class Walk(HTMLParser):
    """Collects elements and attributes, and checks that what opens is closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(name)
        self.attributes += attributes
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(name)
        self.attributes += attributes

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name


def walked(said: str) -> Walk:
    walk = Walk()
    walk.feed(said)
    walk.close()
    assert walk.open == []
    return walk


def hostile(text: str) -> dict[str, Any]:
    whole = report(recipe=text, notes=[text], versions={text: text}, splits={text: 3}, device=text)
    whole["seconds"] = {text: 3.0}
    whole["training"]["rows_left_out"] = {text: 3}
    for one in whole["evaluations"]:
        one["set"] = one["set"] if one["set"] == "test" else text
        one["tags"] = {text: one["tags"]["fr"]}
        one["metrics"][text] = one["metrics"]["exact"]
    for one in whole["benchmarks"]:
        one["device"] = text
    whole["models"].append({"file": text, "quant": text, "bytes": 5_000, "sha256": text})
    whole["plans"][0]["verdict"] = text
    whole["gates"][0]["gate"] = text
    row = whole["wrong"]["rows"][0]
    answers = [{"subjects": [text, "a.gguf"], "answer": text}]
    whole["wrong"]["rows"] = [{**row, "prompt": text, "reference": text, "teacher": text, "tags": [text], "answers": answers}]
    return whole


def test_every_section_is_there_once() -> None:
    said = page(report())
    assert re.findall('<section id="([a-z]+)"', said) == ["size", "lost", "sets", "speed", "tags", "training", "run", "wrong"]
    walk = walked(said)
    assert walk.elements <= set(ALLOWED)
    links = [value for name, value in walk.attributes if name == "href"]
    ids = [f"#{value}" for name, value in walk.attributes if name == "id"]
    assert sorted(links) == sorted(ids)


def test_nothing_is_fetched_and_nothing_runs() -> None:
    said = page(report())
    walk = walked(said)
    assert not {"script", "link", "img", "iframe", "object", "form"} & walk.elements
    assert not [name for name, _ in walk.attributes if name in ("src", "srcset", "xlink:href") or name.startswith("on")]
    style = said.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in re.sub('http-equiv="Content-Security-Policy"', "", said)
    assert "default-src 'none'" in said.replace("&#x27;", "'")


def test_light_dark_paper_and_phones_are_provided_for() -> None:
    said = page(report())
    for rule in ("prefers-color-scheme: dark", "@media print", "max-width: 640px"):
        assert rule in said
    assert 'name="viewport"' in said


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(
            ["</style><script>alert(1)</script>", "'\"><svg onload=x>", "<!--", "</title><b>", "&lt;b&gt;", "\u202e<i>"]
        ),
    )
)
def test_no_text_of_a_run_breaks_out_of_the_page(text: str) -> None:
    walk = walked(page(hostile(text)))
    assert walk.elements <= set(ALLOWED)
    assert not [name for name, _ in walk.attributes if name.startswith("on")]


def test_a_run_with_nothing_to_show_has_a_page() -> None:
    lists: dict[str, Any] = {name: [] for name in ("evaluations", "ladder", "models", "benchmarks", "plans", "gates", "notes")}
    tables: dict[str, Any] = {name: {} for name in ("seconds", "versions", "splits", "sizes")}
    nothing = {"pick": None, "parity": None, "main": {"metric": None, "set": None}, "wrong": {"count": 0, "rows": []}}
    bare = report(**lists, **tables, **nothing, training=None)
    said = page(bare)
    assert re.findall('<section id="([a-z]+)"', said) == ["run"]
    walked(said)


def test_the_foot_says_how_to_verify_this_very_folder() -> None:
    assert "<code>pillm verify runs/quickstart</code>" in page(report(folder="runs/quickstart"))
    assert "<code>pillm verify &#x27;my runs/one&#x27;</code>" in page(report(folder="my runs/one")).replace("&#39;", "&#x27;")
    assert "<code>pillm verify .</code>, said in this folder" in page(report(folder=None))  # absolute: not told
