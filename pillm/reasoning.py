"""Reasoning apart from the answer: captured, kept, shortened to a budget or stripped, and spoken where it is trained on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from pillm.errors import ConfigError
from pillm.records import Answer, Message

ReasoningPolicy: TypeAlias = Literal["keep", "strip"] | int
"""What becomes of a trace: kept whole, left out, or shortened to so many tokens."""

_OPENERS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<reasoning>": "</reasoning>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
}
_OPEN = re.compile(r"\s*(" + "|".join(map(re.escape, _OPENERS)) + ")")
_SOLUTION = re.compile(r"\A\s*<\|begin_of_solution\|>(.*?)(?:<\|end_of_solution\|>\s*)?\Z", re.DOTALL)
_STEP_END = re.compile(r"(?<=[.!?…。！？])[\"'»”)\]]*\s+|\n+")
_TOKENS_PER_WORD = 4 / 3
_CONCLUSION = 3
"""The end of a trace gets one part in so many of a budget, and its last step in any case."""


def split_reasoning(text: str) -> tuple[str, str | None]:
    """Return (content, reasoning) of a generated text: what it thinks before it answers, and the answer.

    Read are <think>, <thinking>, <reasoning> and <|begin_of_thought|> at the start, and a </think> that the chat template
    opened. A trace that is never closed is all there is: nothing was answered. Without a trace the text stays as it is.
    """
    thoughts, at = [], 0
    while opening := _OPEN.match(text, at):
        closer = _OPENERS[opening[1]]
        end = text.find(closer, opening.end())
        thoughts.append(text[opening.end() : end if end >= 0 else None].strip())
        at = end + len(closer) if end >= 0 else len(text)
    if not thoughts:
        before, closer, _ = text.partition("</think>")
        if not closer:
            return text, None
        thoughts, at = [before.strip()], len(before) + len(closer)
    content = text[at:].lstrip()
    if solution := _SOLUTION.match(content):
        content = solution[1].strip()
    return content, "\n\n".join(filter(None, thoughts)) or None


def reasoning_policy(value: str | int) -> ReasoningPolicy:
    """Return the policy that an option names: keep, strip, or a number of tokens; raise ConfigError for anything else."""
    if value == "keep" or value == "strip":
        return "keep" if value == "keep" else "strip"
    try:
        budget = int(value)
        if isinstance(value, bool) or budget < 1:
            raise ValueError
    except ValueError:
        raise ConfigError(f"reasoning is {value!r}. Give keep, strip, or a number of tokens that a trace may have.") from None
    return budget


def count_tokens(text: str) -> int:
    """Return about how many tokens a text has: four for three words."""
    return math.ceil(len(text.split()) * _TOKENS_PER_WORD)


def shaped(answer: Answer, policy: ReasoningPolicy, count: Callable[[str], int] = count_tokens) -> Answer:
    """Return an answer with its reasoning kept, left out, or shortened to at most so many tokens by `count`.

    Shortened, whole steps from the start and the conclusion stay, as they were written; a budget that its last step
    exceeds leaves none. Token ids and log-probabilities of a changed answer are left out: they belong to the whole text.
    """
    if policy == "keep" or not answer.reasoning:
        return answer
    kept = None if policy == "strip" else shortened(answer.reasoning, policy, count)
    if kept == answer.reasoning:
        return answer
    return replace(answer, reasoning=kept, token_ids=None, logprobs=None, tokenizer_hash=None)


def shortened(trace: str, budget: int, count: Callable[[str], int] = count_tokens) -> str | None:
    """Return a trace in at most `budget` tokens, or None where not even its last step fits."""
    if count(trace) <= budget:
        return trace
    steps, ends = _steps(trace)
    costs = [count(step) for step in steps]
    tail = max(1, _fitting(reversed(costs), budget // _CONCLUSION))
    head = _fitting(costs[:-tail], budget - sum(costs[-tail:]))
    while head + tail > 0:  # costs of steps apart need not sum up to the cost of their text
        kept = _joined(steps, ends, (*range(head), *range(len(steps) - tail, len(steps))))
        if count(kept) <= budget:
            return kept
        head, tail = (head - 1, tail) if head > 0 else (0, tail - 1)
    return None


def _steps(trace: str) -> tuple[list[str], list[str]]:
    """Return the steps of a trace, sentences or lines, and what stands after each."""
    steps, ends, at = [], [], 0
    for gap in _STEP_END.finditer(trace):
        closing = gap[0].rstrip()  # a quotation mark after the full stop belongs to its sentence
        step = trace[at : gap.start()] + closing
        if step.strip():
            steps.append(step)
            ends.append(gap[0][len(closing) :])
        at = gap.end()
    if trace[at:].strip():
        steps.append(trace[at:])
        ends.append("")
    return steps, ends


def _fitting(costs: Iterable[int], budget: int) -> int:
    """Return how many of the first costs fit into a budget together."""
    number = spent = 0
    for cost in costs:
        spent += cost
        if spent > budget:
            break
        number += 1
    return number


def _joined(steps: Sequence[str], ends: Sequence[str], chosen: Sequence[int]) -> str:
    return "".join(steps[number] + (ends[number] or "\n") for number in chosen).strip()


def spoken(answer: Answer) -> Message:
    """Return an answer as the message that a student is trained on: its reasoning within the content, in <think>."""
    message = {name: value for name, value in answer.message.items() if name != "reasoning"}
    if answer.reasoning:
        message["content"] = f"<think>\n{answer.reasoning}\n</think>\n\n{answer.content}"
    return message
