"""Wrong rows side by side."""

from __future__ import annotations

import html
import json
import re
import time
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.report.elements import join
from pillm.report.wrongrows import marked, wrong_section


def report(**changed: Any) -> dict[str, Any]:
    whole = json.loads((Path(__file__).parent / "data/report.json").read_text("utf-8"))
    return {**whole, **changed}


def shown(expected: str, answer: str) -> str:
    return join(marked(expected, answer))


def test_what_differs_is_marked_and_what_lacks_is_put_in() -> None:
    assert shown("turn on the lamp", "turn off the lamp") == (
        'turn <mark class="gone">on</mark><mark class="extra">off</mark> the lamp'
    )


def test_white_space_alone_is_not_marked() -> None:
    assert shown('{"a": 1}', '{"a":1}') == "{&quot;a&quot;:1}"
    assert "mark" not in shown("a b", "a  b")


@settings(deadline=None)
@given(st.text('ab <&"é', max_size=30), st.text('ab <&"é', max_size=30))
def test_the_answer_is_always_there_whole(expected: str, answer: str) -> None:
    without = re.sub('<mark class="gone">.*?</mark>', "", shown(expected, answer), flags=re.DOTALL)
    plain = html.unescape(re.sub("<[^>]+>", "", without))
    assert plain == (answer or "(empty)")


def test_a_hostile_length_is_shown_without_marks_and_without_waiting() -> None:
    started = time.process_time()
    assert "mark" not in shown("a " * 900, "b " * 900)
    assert time.process_time() - started < 1


def test_who_said_what_is_named() -> None:
    said = wrong_section(report())
    assert said is not None
    assert "1 rows on which" in said
    assert "<dt>Q8_0</dt>" in said
    assert '<div class="right"><dt>Teacher</dt>' in said
    assert "<q>allume</q>" in said
    assert wrong_section(report(wrong={"count": 0, "rows": []})) is None


def test_a_wrong_tool_call_is_marked_inside_its_json() -> None:
    right = '[{"name":"light","arguments":{"on":true}}]'
    row = {**report()["wrong"]["rows"][0], "reference": right, "teacher": right, "answers": [
        {"subjects": ["a.gguf"], "answer": right.replace("true", "false")}]}  # fmt: skip
    said = wrong_section(report(wrong={"count": 1, "rows": [row]}))
    assert said is not None
    assert '<mark class="gone">true</mark><mark class="extra">false</mark>' in said
    assert "(empty)" not in said


def test_failures_and_missing_answers_are_said() -> None:
    answers = [{"subjects": [who], "answer": said} for who, said in (("a.gguf", None), ("x", '{"n":1.0}'), ("y", ""))]
    row = {**report()["wrong"]["rows"][0], "failure": {"kind": "server", "message": "it died"}, "answers": answers}
    said = wrong_section(report(wrong={"count": 90, "rows": [row]}))
    assert said is not None
    for words in ("<i>no answer</i>", "it died", '<div class="right"><dt>x</dt>', "(empty)", "1 of 90 rows"):
        assert words in said, words
