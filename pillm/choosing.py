"""The choice among several answers to one question: the first, what most of them say, or the one a judge prefers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pillm.extraction import extract_json
from pillm.metrics import call_parts, json_text
from pillm.records import Answer, canonical

Choosing: TypeAlias = Literal["first", "majority", "judge"]
"""How one of several accepted answers is chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of several answers to a question: its sample number, whether validation accepted it, and a judge's score."""

    number: int
    answer: Answer
    accepted: bool = True
    score: float | None = None
    """Higher is better; None where no judge has spoken. Scores of one question compare, those of two need not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The sample that was chosen, None where none was accepted, and how many votes each accepted sample had."""

    number: int | None
    votes: Mapping[int, float] = field(default_factory=dict)


def choose(candidates: Iterable[Candidate], how: Choosing = "first", *, as_json: bool = False) -> Choice:
    """Choose among the accepted candidates; ties go to the lowest sample number.

    Votes are: 1 each for "first", how many say the same for "majority" (JSON values where `as_json`, else text), the score
    for "judge", where a sample without one comes after all that have one.
    """
    accepted = sorted((one for one in candidates if one.accepted), key=lambda one: one.number)
    if not accepted:
        return Choice(number=None)
    if how == "first":
        return Choice(number=accepted[0].number, votes={one.number: 1 for one in accepted})
    votes = _scores(accepted) if how == "judge" else _agreement(accepted, as_json)
    best = max(votes.values(), default=None)
    return Choice(number=next((one.number for one in accepted if votes.get(one.number) == best), None), votes=votes)


def _scores(accepted: Sequence[Candidate]) -> dict[int, float]:
    return {one.number: one.score for one in accepted if one.score is not None}


def _agreement(accepted: Sequence[Candidate], as_json: bool) -> dict[int, float]:
    said = {one.number: vote(one.answer, as_json=as_json) for one in accepted}
    counts: dict[str, int] = {}
    for text in said.values():
        counts[text] = counts.get(text, 0) + 1
    return {number: counts[text] for number, text in said.items()}


def vote(answer: Answer, *, as_json: bool = False) -> str:
    """Return what an answer says, as one text that equal answers share: its tool calls, and its value or its words.

    Values are equal as JSON, words in NFC and without regard to white space; calls by name and arguments, in order.
    """
    calls = [_call(call) for call in answer.tool_calls]
    said = _value(answer.content) if as_json else None
    if said is None:
        said = f"text {' '.join(unicodedata.normalize('NFC', answer.content).split())}"
    return "\n".join([*calls, said])


def _value(text: str) -> str | None:
    try:
        return f"json {json_text(extract_json(text, prose=True).value)}"
    except ValueError:
        return None


def _call(call: dict[str, object]) -> str:
    try:
        return f"call {json_text(list(call_parts(call)))}"
    except (ValueError, AttributeError, RecursionError):
        return f"call {canonical(repr(call))}"
