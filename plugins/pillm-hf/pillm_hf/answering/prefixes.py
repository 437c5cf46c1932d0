"""Find the beginning that many prompts share, so that it is read once."""

from __future__ import annotations

from collections.abc import Sequence

_WORTH = 256  # tokens that must be saved: below, a pass of its own for the prefix costs as much


def shared_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """Return the tokens whose sharing saves most; none where too little is saved.

    A prompt that begins otherwise does not spoil it for the rest: the prompt in the middle of the alphabetic order belongs
    to any majority. A whole prompt is never a prefix, since its last token is read apart.
    """
    if len(prompts) < 2:
        return []
    pivot = sorted(prompts)[len(prompts) // 2]
    common = sorted((min(_common(pivot, prompt), len(prompt) - 1) for prompt in prompts), reverse=True)
    saved, length = max((tokens * rank, tokens) for rank, tokens in enumerate(common))
    return pivot[:length] if saved >= _WORTH else []


def _common(one: list[int], two: list[int]) -> int:
    for place, (mine, other) in enumerate(zip(one, two, strict=False)):
        if mine != other:
            return place
    return min(len(one), len(two))
