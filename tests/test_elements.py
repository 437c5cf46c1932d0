"""HTML elements: nothing that comes from outside breaks out."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.report.elements import Markup, join, raw, tag, text


class Seen(HTMLParser):
    """Collects the elements, attributes and text of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.said = ""

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(name)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.said += data


def parsed(markup: str) -> Seen:
    seen = Seen()
    seen.feed(markup)
    seen.close()
    return seen


HOSTILE = st.one_of(
    st.text(),
    st.sampled_from(
        ["<script>alert(1)</script>", "</p><img src=x onerror=x>", "'\"><b>", "&lt;&#60;", "</style>", "<!--", "]]>"]
    ),
)


@settings(deadline=None)
@given(HOSTILE, HOSTILE)
def test_no_text_and_no_attribute_makes_an_element(child: str, attribute: str) -> None:
    seen = parsed(tag("p", child, [child, None], title=attribute))
    assert seen.elements == ["p"]
    assert [name for name, _ in seen.attributes] == ["title"]


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cn", "Co"])))
def test_text_comes_out_as_it_went_in(said: str) -> None:
    assert parsed(tag("p", said, title=said)).said == said


def test_signs_that_hide_or_turn_text_are_shown_by_their_number() -> None:
    assert text("a\u202eb\x00c\u200bd\ud800e") == "a‹202E›b‹0000›c‹200B›d\ufffde"


def test_children_are_nested_flattened_and_left_out() -> None:
    assert tag("ul", [tag("li", 1), None, (tag("li", 2.5),)], class_="x") == '<ul class="x"><li>1</li><li>2.5</li></ul>'
    assert join("a", None, Markup("<b>")) == "a<b>"


def test_attributes_are_written_as_html_has_them() -> None:
    made = tag("line", x1=1.0, stroke_width=2, class_="a", aria_label="b", hidden=None, open=True, draggable=False)
    assert made == '<line x1="1" stroke-width="2" class="a" aria-label="b" open/>'
    assert tag("svg", viewbox="0 0 1 1") == '<svg viewBox="0 0 1 1"></svg>'


@pytest.mark.parametrize("name", ["p onclick", "", "1", "a>b"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no element name"):
        tag(name)


def test_handlers_and_odd_attributes_are_refused() -> None:
    attributes: dict[str, Any]
    for attributes in ({"onclick": "x"}, {"a b": "x"}, {"x>": "y"}):
        with pytest.raises(ValueError, match="no attribute of ours"):
            tag("p", **attributes)


def test_only_what_is_said_to_be_html_is_left_alone() -> None:
    assert tag("p", raw("<b>x</b>"), "<b>") == "<p><b>x</b>&lt;b&gt;</p>"
