"""The rows that went wrong, side by side with what was expected; what differs is marked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import Any

from pillm.report.elements import Child, Markup, tag
from pillm.report.plots import section
from pillm.report.words import count, set_title, student_titles

MAX_TOKENS = 400
"""Longer answers are shown without marks: comparing them would take longer than it helps."""
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


def wrong_section(report: Mapping[str, Any]) -> Markup | None:
    """Return the wrong rows of the chosen file: prompt, expected, teacher, and each different answer with who gave it."""
    wrong = report["wrong"]
    if not wrong["rows"]:
        return None
    names = student_titles(report)
    blocks: list[Child] = []
    for set_, rows in groupby(wrong["rows"], key=lambda row: row["set"]):
        blocks += [tag("h3", set_title(set_)), *(_row(row, names) for row in rows)]
    shown = len(wrong["rows"])
    of = f"{count(wrong['count'])} rows" if shown == wrong["count"] else f"{shown} of {count(wrong['count'])} rows"
    lead: list[Child] = [
        f"{of} on which the chosen file was not exact. ",
        tag("mark", "Marked", class_="extra"),
        " is what an answer has and the expected one has not, ",
        tag("mark", "underlined", class_="gone"),
        " what it lacks.",
    ]
    return section("wrong", "Wrong rows, side by side", lead, *blocks)


def _row(row: Mapping[str, Any], names: Mapping[str, str]) -> Markup:
    expected = row["reference"] or ""
    lines = [_line("expected", _plain(expected), "expected")]
    if row["teacher"] is not None and row["compared_with"] != "teacher":
        lines.append(_answer("Teacher", row["teacher"], expected))
    for one in row["answers"]:
        who = ", ".join(names.get(subject, subject) for subject in one["subjects"])
        lines.append(_answer(who, one["answer"], expected))
    if row["failure"]:
        lines.append(_line("failure", row["failure"].get("message", ""), "failure"))
    tags = [tag("span", name, class_="tag") for name in row["tags"]]
    return tag("article", tag("p", tag("q", row["prompt"]), " ", *tags, class_="prompt"), tag("dl", *lines), class_="wrong")


def _answer(who: str, answer: str | None, expected: str) -> Markup:
    if answer is None:
        return _line(who, tag("i", "no answer"), "failure")
    right = _same(expected, answer)
    return _line(who, _plain(answer) if right else marked(expected, answer), "right" if right else "")


def _line(who: str, said: Child, class_: str) -> Markup:
    return tag("div", tag("dt", who), tag("dd", said), class_=class_ or None)


def _plain(value: str) -> Child:
    return value or tag("i", "(empty)")


def marked(expected: str, answer: str) -> Child:
    """Return an answer with what the expected text has not marked, and what it lacks put in underlined."""
    left, right = _TOKEN.findall(expected), _TOKEN.findall(answer)
    if len(left) > MAX_TOKENS or len(right) > MAX_TOKENS or not right:
        return _plain(answer)
    found: list[Child] = []
    for what, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if what == "equal":
            found.append("".join(right[c:d]))
            continue
        found += [_mark(left[a:b], "gone"), _mark(right[c:d], "extra")]
    return found


def _mark(tokens: Sequence[str], class_: str) -> Child:
    """Return tokens marked; white space alone is no difference worth a mark."""
    said = "".join(tokens)
    if not said.strip():
        return said if class_ == "extra" else None
    return tag("mark", said, class_=class_)


def _same(expected: str, answer: str) -> bool:
    """Return whether two texts are equal, also as JSON in another spelling."""
    if expected.strip() == answer.strip():
        return True
    try:
        return bool(json.loads(expected) == json.loads(answer))
    except (ValueError, RecursionError):
        return False
