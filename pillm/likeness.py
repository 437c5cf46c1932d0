"""Texts that say the same: equal words, or nearly the same runs of words."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Literal

NGRAM = 5
_WORDS = re.compile(r"\w+")


def normal(text: str) -> str:
    """Return a text as it is compared: its words in small letters, without accents' spelling variants and punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_WORDS.findall(folded)) or folded.strip()


def shingles(text: str, size: int) -> frozenset[str]:
    """Return the runs of `size` words of a normalised text, the whole text where it is shorter."""
    words = text.split()
    return frozenset(" ".join(words[at : at + size]) for at in range(max(1, len(words) - size + 1))) if words else frozenset()


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the Jaccard index of two sets, in 0..1: what they share over what they hold together."""
    return len(one & other) / len(one | other) if one or other else 0.0


class Likenesses:
    """The texts so far, and whether a further one repeats one of them.

    Near is a Jaccard index of at least `threshold` over runs of words: of five, and in a shorter text of a quarter of its
    words, for there a run of five would be nearly all of it. No near text is missed.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._texts: dict[str, None] = {}
        self._by_size: dict[int, _Index] = {}

    def add(self, text: str) -> None:
        """Remember a text."""
        known = normal(text)
        if known not in self._texts:
            self._texts[known] = None
            for size, index in self._by_size.items():
                index.add(shingles(known, size))

    def repeats(self, text: str) -> Literal["equal", "near"] | None:
        """Return how a text repeats one that is remembered, or None."""
        asked = normal(text)
        if asked in self._texts:
            return "equal"
        size = min(NGRAM, max(1, len(asked.split()) // 4))
        if size not in self._by_size:
            index = self._by_size[size] = _Index()
            for known in self._texts:
                index.add(shingles(known, size))
        return "near" if self._by_size[size].has_near(shingles(asked, size), self.threshold) else None


class _Index:
    """Sets of runs of one size, found by the runs in them."""

    def __init__(self) -> None:
        self._sets: list[frozenset[str]] = []
        self._places: dict[str, list[int]] = {}

    def add(self, runs: frozenset[str]) -> None:
        for run in runs:
            self._places.setdefault(run, []).append(len(self._sets))
        self._sets.append(runs)

    def has_near(self, runs: frozenset[str], threshold: float) -> bool:
        # a near set shares at least `shared` of these runs, so it holds one of any len - shared + 1: look up the rarest
        shared = max(1, math.ceil(threshold * len(runs) - 1e-9))
        rarest = sorted(runs, key=lambda run: len(self._places.get(run, ())))[: len(runs) - shared + 1]
        near = {place for run in rarest for place in self._places.get(run, ())}
        return any(likeness(runs, self._sets[place]) >= threshold for place in near)
