"""The shared layers: what happens to a request between the mind and the microphone."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from random import Random
from typing import Any

from grammar import Span
from spoken import pick

WORD = re.compile(r"[^\W\d_]{5,}")
BOUNDARY = re.compile(r"(?<=[\w,]) (?=\S|$)")
ARTICLE = re.compile(r"\b(?:the|my|an?) ")
COMMA = re.compile(r",(?= |$)")
QUESTION = re.compile(r"\s*\?$")


@lru_cache(maxsize=1 << 15)
def plain(text: str) -> str:
    """Remove the accents of a text."""
    text = text.replace("œ", "oe")
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def without_commas(text: str) -> str:
    """Remove the commas that no number holds, as a speech recogniser does."""
    return COMMA.sub("", text)


class Layers:
    """The layers of one language."""

    def __init__(self, lang: str, material: dict[str, Any]) -> None:
        self.lang = lang
        self.openers: list[str] = material["openers"]
        self.closers: list[str] = material["closers"]
        self.polite = re.compile(material["polite"], re.I)
        self.loans = re.compile(rf"\b(?:{material['loans']})\b", re.I)
        self.never = frozenset(material["never"])
        self.hesitations: list[str] = material["hesitations"]
        self.swaps: dict[str, list[str]] = {**material["spelling"], **material["switch"]}
        self.spelling = frozenset(material["spelling"])
        words = sorted(self.swaps, key=len, reverse=True)
        self.swap = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b")

    def apply(self, rng: Random, spans: list[Span], tags: list[str]) -> list[Span]:
        """Pass a wording through every layer and note what happened in the tags."""
        draw = rng.random
        if draw() < 0.28:
            spans = self.reword(rng, spans, tags)
        if draw() < 0.12:
            spans = self.hesitate(rng, spans, tags)
        if draw() < 0.10:
            spans = self.mistype(rng, spans, tags)
        if self.lang == "en" and draw() < 0.06:
            spans = telegraphic(spans, tags)
        spans = self.address(rng, spans)
        spans = self.punctuate(rng, spans)
        if draw() < 0.15:
            spans = every(spans, without_commas, tags, "no-comma")
        if "code-switch" not in tags and self.loans.search("".join(text for text, _ in spans)):
            tags.append("code-switch")
        if draw() < 0.55:
            spans = case(rng, spans, tags)
        if self.lang == "fr" and draw() < 0.14:
            spans = every(spans, plain, tags, "no-accents")
        if draw() < 0.08:
            spans = every(spans, lambda t: t.replace("'", " " if draw() < 0.3 else ""), tags, "no-apostrophe")
        if draw() < 0.08:
            spans = every(spans, lambda t: t.replace("-", " "), tags, "no-hyphen")
        return spans

    def reword(self, rng: Random, spans: list[Span], tags: list[str]) -> list[Span]:
        """Replace free words by a spelling variant or by the other language's word."""

        def other(found: re.Match[str]) -> str:
            word = found.group()
            if rng.random() < 0.4:
                return word
            if word in self.spelling and "spelling" not in tags:
                tags.append("spelling")
            return str(pick(rng, self.swaps[word]))

        return [(self.swap.sub(other, t), None) if k is None else (t, k) for t, k in spans]

    def hesitate(self, rng: Random, spans: list[Span], tags: list[str]) -> list[Span]:
        """Insert a hesitation between two words that no slot holds."""
        last = max((i for i, (text, _) in enumerate(spans) if text.strip()), default=0)
        places = [
            (i, found.end())
            for i, (text, key) in enumerate(spans[: last + 1])
            if key is None
            for found in BOUNDARY.finditer(text.rstrip() if i == last else text)
        ]
        if not places:
            return spans
        i, end = pick(rng, places)
        text = spans[i][0]
        tags.append("hesitation")
        return [*spans[:i], (f"{text[:end]}{pick(rng, self.hesitations)} {text[end:]}", None), *spans[i + 1 :]]

    def mistype(self, rng: Random, spans: list[Span], tags: list[str]) -> list[Span]:
        """Mistype one long word that no slot holds."""
        places = [(i, found) for i, (text, key) in enumerate(spans) if key is None for found in WORD.finditer(text)]
        if not places:
            return spans
        i, found = pick(rng, places)
        word, text = found.group(), spans[i][0]
        at = 1 + int(rng.random() * (len(word) - 2))
        kind = rng.random()
        if kind < 0.4:
            wrong = word[:at] + word[at + 1 :]
        elif kind < 0.7:
            wrong = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        else:
            wrong = word[:at] + word[at] + word[at:]
        if wrong == word or wrong.lower() in self.never:
            return spans
        tags.append("typo")
        return [*spans[:i], (text[: found.start()] + wrong + text[found.end() :], None), *spans[i + 1 :]]

    def address(self, rng: Random, spans: list[Span]) -> list[Span]:
        """Add an opener or a closer."""
        if rng.random() < 0.25:
            spans = [(pick(rng, self.openers), None), *spans]
        if rng.random() < 0.16 and not self.polite.search("".join(t for t, _ in spans)):
            last, key = spans[-1]
            asked = key is None and last.endswith("?")
            comma = "," if rng.random() < 0.5 and not asked else ""
            spans = [*spans, (f"{comma} {pick(rng, self.closers)}", None)]
        return spans

    def punctuate(self, rng: Random, spans: list[Span]) -> list[Span]:
        """Keep, drop or add the last mark."""
        last, key = spans[-1]
        draw = rng.random()
        if key is None and last.endswith("?"):
            mark = "" if draw < 0.45 else (" ?" if self.lang == "fr" and draw < 0.85 else "?")
            return [*spans[:-1], (QUESTION.sub("", last) + mark, None)]
        return [*spans, ("." if draw < 0.87 else "!", None)] if draw > 0.65 else spans


def telegraphic(spans: list[Span], tags: list[str]) -> list[Span]:
    """Drop the English articles that no slot holds."""
    short: list[Span] = [(ARTICLE.sub("", text), key) if key is None else (text, key) for text, key in spans]
    if short != spans:
        tags.append("no-article")
    return short


def every(spans: list[Span], change: Any, tags: list[str], tag: str) -> list[Span]:
    """Apply a change of characters everywhere, inside the slots too."""
    changed = [(change(text), key) for text, key in spans]
    if changed != spans:
        tags.append(tag)
    return changed


def case(rng: Random, spans: list[Span], tags: list[str]) -> list[Span]:
    """Give the request a capital, no capital at all, or only capitals."""
    draw = rng.random()
    if draw < 0.07:
        tags.append("upper-case")
        return [(text.upper(), key) for text, key in spans]
    if draw < 0.5:
        return [(text.lower(), key) for text, key in spans]
    for i, (text, key) in enumerate(spans):
        if text.strip():
            return [*spans[:i], (text[:1].upper() + text[1:], key), *spans[i + 1 :]]
    return spans
