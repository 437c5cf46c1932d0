"""How long the requests of a data set are."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pillm.artifacts import Evaluation
from pillm.plans import Lengths
from pillm.records import Prompt
from pillm.tokencounter import TokenCounter

SAMPLE, LONGEST = 400, 32
"""How many rows are counted for a middling one, and how many of the longest ones by characters for the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLengths:
    """A middling request, None where no answer is known, and the tokens of the longest one with its answer."""

    typical: Lengths | None
    longest: int


def row_lengths(prompts: Iterable[Prompt], counter: TokenCounter) -> RowLengths:
    """Return how long rows are: of some hundred that stand evenly among them, and of the longest by characters.

    An answer that is not known yet counts nothing. The prefix is what all prompts begin with, where one system message is.
    """
    rows = list(prompts)
    longest = heapq.nlargest(LONGEST, rows, key=counter.characters)
    most = max((sum(pair) for pair in zip(counter.prompts(longest), counter.answers(longest), strict=True)), default=0)
    return RowLengths(typical=_typical(rows, counter), longest=most)


def _typical(rows: Sequence[Prompt], counter: TokenCounter) -> Lengths | None:
    some = rows[:: -(-len(rows) // SAMPLE) or 1]
    answered = [length for length in counter.answers(some) if length]
    if not answered:
        return None
    prompt, answer = (max(1, round(statistics.median(found))) for found in (counter.prompts(some), answered))
    prefix = min(counter.shared(some), prompt)
    return Lengths(prompt=prompt, answer=answer, prefix=prefix, estimated=counter.estimated)


def counted_lengths(evaluations: Iterable[Evaluation], model: str, otherwise: Lengths | None) -> Lengths | None:
    """Return the tokens of a middling request and its answer as a file counted them, else the lengths given.

    The prefix of those is kept: no file counts it.
    """
    for one in evaluations:
        if (one.kind, one.subject) == ("model", model) and one.prompt_tokens and one.completion_tokens:
            prompt, prefix = round(one.prompt_tokens), otherwise.prefix if otherwise else 0
            answer = max(1, round(one.completion_tokens))
            reckoned = prefix > 0 and otherwise is not None and otherwise.estimated
            return Lengths(prompt=prompt, answer=answer, prefix=min(prefix, prompt), estimated=reckoned)
    return otherwise
