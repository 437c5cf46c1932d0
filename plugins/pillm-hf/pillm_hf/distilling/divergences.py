"""Divergences of a student from its teacher at each answer position, differentiable in the student's logits.

The teacher is known as logits of the whole vocabulary (dense), as the log-probabilities of some ids and of the rest
together (sparse), or as draws (sampled). All are in nats. With a temperature T both sides are softened by it and the result
is multiplied by T^2, so that gradients keep their size (Hinton et al. 2015, arXiv:1503.02531). Log-probabilities are floored
at the smallest normal number of their format, so that what a teacher never writes costs much, but not infinitely much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pillm
from pillm_hf.distilling.logprobs import known_logprobs, wide

if TYPE_CHECKING:
    import torch

Kind: TypeAlias = Literal["forward_kl", "reverse_kl", "jsd"]
_BLOCK = 2**23  # logits at a time where both sides are dense: what comes between stays small, and kernels stay long


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Which divergence is meant: KL(teacher, student), KL(student, teacher), or the generalised Jensen-Shannon divergence.

    The last is beta KL(teacher, m) + (1 - beta) KL(student, m) with m = beta teacher + (1 - beta) student, 0 < beta < 1
    (Agarwal et al. 2024, arXiv:2306.13649).
    """

    kind: Kind = "forward_kl"
    temperature: float = 1.0
    beta: float = 0.5


FORWARD_KL = Divergence()


def dense_divergence(
    logits: torch.Tensor, teacher_logits: torch.Tensor, how: Divergence = FORWARD_KL, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the weighted sum of the divergences at n positions; both logits are [n, vocabulary], weights are [n].

    Besides the gradient, nothing of that size is made.
    """
    return _summed(_at_each(logits, teacher_logits, how), weights)


def sparse_divergence(
    logits: torch.Tensor,
    ids: torch.Tensor,
    logprobs: torch.Tensor,
    how: Divergence = FORWARD_KL,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the weighted sum of the divergences between k + 1 outcomes: k ids, and the rest of the vocabulary as one.

    Logits are [n, vocabulary], ids [n, k] without repetition, logprobs [n, k + 1] with the rest last (see `with_rest`),
    weights [n]. At temperature 1 it never exceeds the dense divergence (data processing inequality); other temperatures
    soften the k + 1 outcomes, since nobody knows what the rest consists of. Besides the gradient, nothing of the logits' size
    is made.
    """
    coarse, _ = known_logprobs(logits, ids, ids[:, :0])
    return _summed(_at_each(coarse, logprobs, how), weights)


def sparse_losses(
    logits: torch.Tensor, ids: torch.Tensor, logprobs: torch.Tensor, labels: torch.Tensor, how: Divergence = FORWARD_KL
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sparse divergences [n] and the cross-entropies [n] of labels [n], of one pass over the logits.

    The other shapes are those of `sparse_divergence`. A position without a target needs any ids and a weight of 0.
    """
    coarse, of_labels = known_logprobs(logits, ids, labels[:, None])
    return _at_each(coarse, logprobs, how), -of_labels[:, 0]


def sampled_cross_entropy(
    logits: torch.Tensor,
    ids: torch.Tensor,
    shares: torch.Tensor,
    temperature: float = 1.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the weighted sum of the cross-entropies to a teacher of whom only draws are known.

    Logits are [n, vocabulary], ids and shares [n, k], weights [n]. A share's expectation must be the teacher's probability
    of its id (see `draw`, with the same temperature); unused places have the share 0. Value and gradient are then unbiased;
    the gradient is forward KL's, the value exceeds it by the teacher's entropy (Anshumann et al. 2025, arXiv:2503.16870).
    """
    scaled = logits if temperature == 1 else logits / temperature
    _, chosen = known_logprobs(scaled, ids[:, :0], ids)
    return _summed(-(shares * chosen).sum(-1) * temperature**2, weights)


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
    temperature: float = 1.0,
    exact: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and counts, both [n, width], of so many draws from a teacher's distributions [n, vocabulary].

    Ids are distinct, and ascend; unused places count 0. The `exact` ids [n, k] are never drawn: the draws then stand for
    the rest. counts / draws are shares for `sampled_cross_entropy`, those of a rest multiplied by its probability.
    """
    import torch

    chances = torch.softmax(wide(teacher_logits) / temperature, -1)
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


def _summed(losses: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    return losses.sum() if weights is None else (losses * weights).sum()


def _at_each(student: torch.Tensor, teacher: torch.Tensor, how: Divergence) -> torch.Tensor:
    """Return the divergences [n] of logits, or log-probabilities, [n, outcomes]."""
    import torch

    wanted = student.requires_grad and torch.is_grad_enabled()
    found: torch.Tensor = _function().apply(student, teacher.detach(), how, wanted)
    return found


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


def _blocks(logits: Any, teacher: Any, how: Divergence, wanted: bool) -> tuple[Any, Any]:
    """Return the divergences [n], and their gradients [n, outcomes] where they are wanted."""
    import torch

    losses = []
    gradient = torch.empty_like(logits) if wanted else None
    rows = max(1, _BLOCK // logits.shape[-1])
    for begin in range(0, len(logits), rows):
        value, slope = value_and_slope(wide(logits[begin : begin + rows]), teacher[begin : begin + rows], how)
        losses.append(value)
        if gradient is not None:
            gradient[begin : begin + rows] = slope
    return torch.cat(losses) if losses else logits.new_zeros(0), gradient


@cache
def _function() -> Any:
    """Return the function with a gradient of its own, made with the value; a second backward pass makes it anew."""
    import torch

    class Divergences(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: Any, teacher: Any, how: Divergence, wanted: bool) -> Any:
            losses, ctx.gradient = _blocks(logits, teacher, how, wanted)
            ctx.save_for_backward(logits, teacher)
            ctx.how = how
            return losses

        @staticmethod
        def backward(ctx: Any, scale: Any) -> Any:
            gradient, ctx.gradient = ctx.gradient, None
            if gradient is None:
                logits, teacher = ctx.saved_tensors
                gradient = _blocks(logits, teacher, ctx.how, True)[1]
            return gradient.mul_(scale[:, None]), None, None, None

    return Divergences
