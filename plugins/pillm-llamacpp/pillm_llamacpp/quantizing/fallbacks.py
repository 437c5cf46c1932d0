"""What to do where rows do not fit a quantisation's blocks, and llama.cpp stores another type without a word."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, TypeAlias

import pillm
from pillm_llamacpp.quantizing.quants import AUTO

if TYPE_CHECKING:
    from collections.abc import Sequence

Rule: TypeAlias = Literal["refuse", "warn", "allow"]

_BETTER = {
    "Q6_K": "Q8_0 is what such rows are stored as",
    "Q5_K": "Q5_1 is the better 5-bit type: its blocks fit",
}
_OF_32 = ("IQ4_NL", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1", "Q1_0", "MXFP4_MOE", "F16", "BF16", "F32")
"""Types that llama.cpp puts no other in the place of for want of a multiple of 256."""
_ELSE = "IQ4_NL is the better 4-bit type: its blocks fit"


def better(quant: str) -> str:
    """Return in words which quantisation is better than this one where rows are no multiple of 256; empty for one that fits."""
    if quant in _OF_32 or quant == AUTO:  # what is chosen for a model fits it
        return ""
    return next((told for name, told in _BETTER.items() if quant.startswith(name)), _ELSE)


def judge(rule: Rule, quant: str, fallbacks: Sequence[Sequence[str]], progress: pillm.Progress) -> None:
    """Apply the rule to the tensors that were stored otherwise: (name, row length, type); raise BackendError to refuse."""
    if not fallbacks:
        return
    name, width, *_ = fallbacks[0]
    became = ", ".join(f"{count} x {kind}" for kind, count in Counter(row[2] for row in fallbacks).items())
    advice = f" For a model of this width {told}." if (told := better(quant)) else ""
    blocks = 256 if int(width) % 32 == 0 else 32
    said = (
        f"{quant}: {len(fallbacks)} tensors have rows that are not a multiple of {blocks} (first: {name}, {width}) "
        f"and were stored as {became} instead.{advice}"
    )
    if rule == "refuse":
        raise pillm.BackendError(f"{said} No {quant} file was left, because the option fallback says refuse.")
    if rule == "warn":
        progress.warn(said)
    else:
        progress.note(said)
