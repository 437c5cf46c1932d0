"""How long the requests of a data set are, as far as characters tell."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from pillm.artifacts import Evaluation
from pillm.plans import Lengths
from pillm.records import Message, Prompt

CHARACTERS = 4
"""A token of English or French text, or of JSON, takes about so many, whatever the vocabulary."""


def typical_lengths(prompts: Iterable[Prompt]) -> Lengths | None:
    """Return the tokens of a middling request and its answer, reckoned from characters; None where no answer is known yet.

    The prefix is the system message, where all prompts have the same.
    """
    asked: list[int] = []
    answered: list[int] = []
    systems: set[str] = set()
    for one in prompts:
        asked.append(sum(map(_length, one.messages)))
        systems.add("".join(str(said.get("content") or "") for said in one.messages if said.get("role") == "system"))
        if answer := _answer(one):
            answered.append(answer)
    if not answered:
        return None
    prompt, answer = (max(1, round(statistics.median(found) / CHARACTERS)) for found in (asked, answered))
    prefix = round(len(systems.pop()) / CHARACTERS) if len(systems) == 1 else 0
    return Lengths(prompt=prompt, answer=answer, prefix=min(prefix, prompt), estimated=True)


def longest_request(prompts: Iterable[Prompt]) -> int:
    """Return the tokens of the longest request with its answer, reckoned from characters; 0 where there is none.

    An answer that is not known yet counts nothing.
    """
    return max((-(-(sum(map(_length, one.messages)) + _answer(one)) // CHARACTERS) for one in prompts), default=0)


def counted_lengths(evaluations: Iterable[Evaluation], model: str, otherwise: Lengths | None) -> Lengths | None:
    """Return the tokens of a middling request and its answer as a file counted them, else the lengths given.

    The prefix of those is kept: nobody counts it.
    """
    for one in evaluations:
        if (one.kind, one.subject) == ("model", model) and one.prompt_tokens and one.completion_tokens:
            prompt, prefix = round(one.prompt_tokens), otherwise.prefix if otherwise else 0
            answer = max(1, round(one.completion_tokens))
            return Lengths(prompt=prompt, answer=answer, prefix=min(prefix, prompt), estimated=prefix > 0)
    return otherwise


def _answer(prompt: Prompt) -> int:
    """Return the characters of the answer that a row has, 0 where it has none."""
    told = prompt.given or (prompt.reference.message if prompt.reference else None)
    return _length(told) if told else 0


def _length(message: Message) -> int:
    calls = message.get("tool_calls") or ()
    return len(str(message.get("content") or "")) + sum(len(str(call.get("function", call))) for call in calls)
