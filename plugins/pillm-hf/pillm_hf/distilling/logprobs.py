"""Log-probabilities of some ids and of the rest of a vocabulary together, by one pass over the logits, with their gradient.

torch's own steps would keep several tensors of the logits' size for the backward pass; here there is one, and it becomes the
gradient.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_MARGIN = 16  # nats above the smallest normal number: what is divided by a rest must not overflow


def known_logprobs(logits: torch.Tensor, ids: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probabilities [n, k + 1] of k ids and of all others together, and those [n, c] of further ids.

    Logits are [n, vocabulary], ids [n, k], chosen [n, c]; float32 or wider comes back. A rest that holds less than the
    smallest normal number is taken for that, and one near it has no gradient; without ids (k = 0) there is none to tell: 0.
    """
    coarse, others = _function().apply(logits, ids, chosen)
    return coarse, others


def wide(logits: torch.Tensor) -> torch.Tensor:
    """Return logits in float32 or wider."""
    return logits.float() if logits.element_size() < 4 else logits


def _softmax(logits: Any, ids: Any) -> tuple[Any, Any, Any]:
    """Return the probabilities [n, vocabulary] with zeros at the ids, the best logits, and the log of what is left [n, 1].

    With the best logits come their log-probabilities [n, 2]. What is left is summed from its own members: 1 minus those of the
    ids would be rounding where they hold nearly all.
    """
    import torch

    chances = torch.softmax(logits, -1, dtype=wide(logits[:0]).dtype)
    best, place = chances.max(-1, keepdim=True)
    peak = torch.cat([logits.gather(1, place), best.log()], -1)  # gives every log-probability without another pass
    if not ids.shape[1]:
        return chances, peak, torch.zeros_like(best)
    chances.scatter_(1, ids, 0.0)
    rest = chances.sum(-1, keepdim=True).clamp_min(torch.finfo(chances.dtype).tiny)
    return chances, peak, rest.log()


@cache
def _function() -> Any:
    """Return the function with a gradient of its own; it is made once torch is there."""
    import torch

    class Logprobs(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: Any, ids: Any, chosen: Any) -> Any:
            ctx.chances, peak, rest = _softmax(logits, ids)
            kept, others = (logits.gather(1, asked) - peak[:, :1] + peak[:, 1:] for asked in (ids, chosen))
            ctx.save_for_backward(logits, ids, chosen, kept, rest)
            return torch.cat([kept, rest], -1), others

        @staticmethod
        def backward(ctx: Any, coarse: Any, chosen: Any) -> Any:
            logits, ids, picked, kept, rest = ctx.saved_tensors
            gradient, ctx.chances = ctx.chances, None
            if gradient is None:
                gradient = _softmax(logits, ids)[0]
            faint = rest < math.log(torch.finfo(rest.dtype).tiny) + _MARGIN
            of_rest = coarse[:, -1:].masked_fill(faint, 0.0) if ids.shape[1] else torch.zeros_like(rest)
            total = coarse[:, :-1].sum(-1, keepdim=True) + chosen.sum(-1, keepdim=True) + of_rest
            gradient.mul_(of_rest * (-rest).exp() - total)
            gradient.scatter_(1, ids, -kept.exp() * total)
            gradient.scatter_add_(1, ids, coarse[:, :-1]).scatter_add_(1, picked, chosen)
            return gradient.to(logits.dtype), None, None

    return Logprobs
