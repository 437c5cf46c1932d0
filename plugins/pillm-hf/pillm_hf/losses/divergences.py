"""Divergences of a student from its teacher at each answer position, with their gradients, and what a teacher is known by.

That is its logits of the whole vocabulary, the log-probabilities of some ids and of the rest together, or draws: see
`lessons`. All are in nats. With a temperature T both sides are softened by it and the result
is multiplied by T^2, so that gradients keep their size (Hinton et al. 2015, arXiv:1503.02531). Log-probabilities are floored
at the smallest normal number of their format, so that what a teacher never writes costs much, but not infinitely much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pillm

if TYPE_CHECKING:
    import torch

Kind: TypeAlias = Literal["forward_kl", "reverse_kl", "jsd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Which divergence is meant: KL(teacher, student), KL(student, teacher), or the generalised Jensen-Shannon divergence.

    The last is beta KL(teacher, m) + (1 - beta) KL(student, m) with m = beta teacher + (1 - beta) student, 0 < beta < 1
    (Agarwal et al. 2024, arXiv:2306.13649).
    """

    kind: Kind = "forward_kl"
    temperature: float = 1.0
    beta: float = 0.5


def with_rest(logprobs: torch.Tensor) -> torch.Tensor:
    """Return log-probabilities [n, k + 1]: those given [n, k], and the logarithm of what they leave of 1.

    What they leave is known to the format's rounding only, and never taken for less than that.
    """
    import torch

    covered = logprobs.logsumexp(-1, keepdim=True).clamp_max(-torch.finfo(logprobs.dtype).eps)
    # log(1 - e^x): each form is exact where the other cancels (Maechler 2012)
    near = torch.log(-torch.expm1(covered))
    rest = torch.where(covered > -math.log(2), near, torch.log1p(-covered.exp()))
    return torch.cat([logprobs, rest], -1).log_softmax(-1)


def draw(
    teacher_logits: torch.Tensor,
    draws: int,
    *,
    exact: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and counts, both [n, width], of so many draws from a teacher's distributions [n, vocabulary].

    Ids are distinct, and ascend; unused places count 0. The `exact` ids [n, k] are never drawn: the draws then stand for
    the rest. counts / draws are shares for `lessons.Draws`, those of a rest multiplied by its probability.
    """
    import torch

    wide = teacher_logits.float() if teacher_logits.element_size() < 4 else teacher_logits
    chances = torch.softmax(wide, -1)
    if exact is not None:
        chances.clamp_min_(torch.finfo(chances.dtype).tiny)  # the exact ids may hold all: any draw then stands for nothing
        chances.scatter_(1, exact, 0.0)
    drawn = torch.multinomial(chances, draws, replacement=True, generator=generator).sort(-1).values
    place = torch.zeros_like(drawn)
    place[:, 1:] = (drawn[:, 1:] != drawn[:, :-1]).cumsum(-1)
    width = int(place.max()) + 1
    counts = torch.zeros_like(drawn).scatter_add_(1, place, torch.ones_like(drawn))
    ids = torch.zeros_like(drawn).scatter_(1, place, drawn)
    return ids[:, :width], counts[:, :width]


def align_vocabulary(teacher_logits: torch.Tensor, vocabulary: int, tokens: int) -> torch.Tensor:
    """Return a teacher's logits [n, any] as logits [n, vocabulary] of the student: what goes beyond is cut, what lacks is -inf.

    The tokenizer has `tokens` ids, columns after them are padding. Raises DataError where either side has fewer columns:
    then more than padding differs.
    """
    import torch

    theirs = teacher_logits.shape[-1]
    if min(theirs, vocabulary) < tokens:
        raise pillm.DataError(
            f"the teacher predicts {theirs} tokens and the student {vocabulary}, and their tokenizer has {tokens}: more than "
            "padding differs. Use sequence-level labels (no distillation of logits), or universal logit distillation."
        )
    return torch.nn.functional.pad(teacher_logits, (0, vocabulary - theirs), value=-math.inf)


def value_and_slope(student: Any, teacher: Any, how: Divergence) -> tuple[Any, Any]:
    """Return the divergences [n] of logits [n, outcomes] and their gradients [n, outcomes]."""
    import torch

    tiny, heat = torch.finfo(student.dtype).tiny, how.temperature
    mine, theirs = ((side if heat == 1 else side / heat).log_softmax(-1) for side in (student, teacher.to(student.dtype)))
    mine, theirs = mine.clamp_min_(math.log(tiny)), theirs.clamp_min_(math.log(tiny))
    if how.kind == "forward_kl":
        wanted = theirs.exp()
        value = theirs.sub_(mine).mul_(wanted).sum(-1)
        slope = mine.exp_().sub_(wanted)
    elif how.kind == "reverse_kl":
        slope = mine.exp()
        excess = mine.sub_(theirs)
        value = (slope * excess).sum(-1)
        slope.mul_(excess.sub_(value[:, None]))
    else:
        slope, wanted = mine.exp(), theirs.exp()
        mixed = torch.lerp(slope, wanted, how.beta).clamp_min_(tiny).log_()
        excess = mine.sub_(mixed).mul_(1 - how.beta)
        mean = (slope * excess).sum(-1)
        value = mean + how.beta * theirs.sub_(mixed).mul_(wanted).sum(-1)
        slope.mul_(excess.sub_(mean[:, None]))
    return value * heat**2, slope.mul_(heat)
