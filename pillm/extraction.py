"""Find the JSON value of an answer: bare, in one fenced block, or, where that is allowed, in the middle of prose."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, NamedTuple, TypeAlias

from pillm.jsonl import parse_json

Where: TypeAlias = Literal["whole", "fence", "fence in prose", "prose"]

_FENCE = "```"
_INFO = re.compile(r"json[ \t]*(?=[\s{\[\"]|\Z)", re.IGNORECASE)
_BRACKET = re.compile(r"[{\[]")
_OPENINGS = 32
"""Brackets in prose that are tried: a text with more of them that open nothing holds no answer."""


class Extraction(NamedTuple):
    """A JSON value, where it stood, and its text exactly as it was written there."""

    value: Any
    where: Where
    text: str


def extract_json(text: str, *, prose: bool = False) -> Extraction:
    """Return the JSON value of an answer: the whole text, or the one fenced block in it.

    With `prose` also the one object or array that other words surround. Raises ValueError where there is none, where there
    are several, and for what `parse_json` refuses.
    """
    body = text.strip()
    try:
        return Extraction(parse_json(body), "whole", body)
    except ValueError as error:
        reason = error
    found = _fenced(body) if _FENCE in body else None
    if isinstance(found, Extraction):
        return found
    if prose:
        return _in_prose(body)
    raise found or reason


def _fenced(body: str) -> Extraction | ValueError:
    """Return what stands between the first fence and the last: two blocks are no JSON, a fence within a string is."""
    first, last = body.find(_FENCE), body.rfind(_FENCE)
    if last < first + len(_FENCE):
        return ValueError("a fenced block is not closed")
    inner = body[first + len(_FENCE) : last].strip()
    info = _INFO.match(inner)
    inner = inner[info.end() :].strip() if info else inner
    alone = first == 0 and last + len(_FENCE) == len(body)
    try:
        return Extraction(parse_json(inner), "fence" if alone else "fence in prose", inner)
    except ValueError as error:
        return error


def _in_prose(body: str) -> Extraction:
    decoder, at, tries = json.JSONDecoder(), 0, 0
    found: Extraction | None = None
    while (opening := _BRACKET.search(body, at)) and tries < _OPENINGS:
        tries += 1
        try:
            end = decoder.raw_decode(body, opening.start())[1]
            text = body[opening.start() : end]
            value = parse_json(text)
        except (ValueError, RecursionError):
            at = opening.end()
            continue
        if found:
            raise ValueError("there are several JSON values in it")
        found, at = Extraction(value, "prose", text), end
    if found is None:
        raise ValueError("there is no JSON object or array in it")
    return found
