"""Universal logit distillation: learn from a teacher with another tokenizer (Boizard et al. 2024, arXiv:2402.12030).

Ids of two tokenizers have nothing in common but their ranks: the sorted probabilities are compared, which is the Wasserstein
distance between two distributions whose outcomes are all equally far from each other. Where both have written the same text
they stand before the same choice; those places are the beginnings of the spans that offsets in the text align.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import pillm

Offsets = Sequence[tuple[int, int]]
"""Where each token begins and ends in the text, in characters, as fast tokenizers tell it."""


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens of the student and of the teacher that write the same piece of a text."""

    student: range
    teacher: range


def aligned_spans(student: Offsets, teacher: Offsets) -> list[Span]:
    """Return the smallest spans that cover both tokenisations of one text in order, none empty on either side.

    Tokens that share a character (pieces of its bytes) stay together; white space that offsets leave out belongs to either
    side; tokens without text belong to a span beside them. An end-of-turn token needs an offset after the text on both sides.
    Raises DataError where the texts end at different places.
    """
    reach = [max((end for _, end in side), default=-1) for side in (student, teacher)]
    if reach[0] != reach[1]:
        raise pillm.DataError(
            "student and teacher tokens are not of one text: they end at different places. Encode the same answer with both."
        )
    mine, theirs = _cuts(student), _cuts(teacher)
    ends = [(0, 0)]
    while mine and theirs:
        (low, high, count), (other_low, other_high, other_count) = mine[-1], theirs[-1]
        if max(low, other_low) <= min(high, other_high):
            ends.append((count, other_count))
        if high <= other_high:
            mine.pop()
        if other_high <= high:
            theirs.pop()
    if student:
        ends[-1] = (len(student), len(teacher))  # tokens without text after the last cut
    return [Span(range(*pair), range(*other)) for pair, other in _between(ends)]


def _cuts(offsets: Offsets) -> list[tuple[int, int, int]]:
    """Return cuts, last first: from which place, to which (nowhere if that is before it), and after how many tokens."""
    if not offsets:
        return []
    lows = list(accumulate((end for _, end in offsets), max))
    starts = [*(start for start, _ in offsets[1:]), lows[-1]]
    highs = list(accumulate(reversed(starts), min))[::-1]
    return [(low, high, count) for count, (low, high) in enumerate(zip(lows, highs, strict=True), 1)][::-1]


def _between(ends: list[tuple[int, int]]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return (begin, end) of both sides between following cuts, without those that are empty on a side."""
    kept = ends[:1]
    for one, other in ends[1:]:
        if one > kept[-1][0] and other > kept[-1][1]:
            kept.append((one, other))
    return [((a, b), (c, d)) for (a, c), (b, d) in pairwise(kept)]
