"""Logits of both sides, and the losses that torch finds of them step by step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from pillm_hf.losses.divergences import Divergence
from pillm_hf.losses.lessons import Draws, Lesson, Outcomes, Ranks, Whole
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

N, SIZE, K = 17, 40, 8
HOW = [
    Divergence(kind=kind, temperature=temperature, beta=0.3)
    for kind in ("forward_kl", "reverse_kl", "jsd")
    for temperature in (1.0, 2.5)
]
AT_ONE = [how for how in HOW if how.temperature == 1]
SEEDS = st.integers(0, 9999)
SPREADS = st.floats(0.1, 20)


def plain_divergence(logits: Tensor, teacher: Tensor, how: Divergence) -> Tensor:
    """Return divergences [n] of logits or log-probabilities [n, outcomes], by torch's own steps."""
    q, p = (logits / how.temperature).log_softmax(-1), (teacher / how.temperature).log_softmax(-1)
    m = (how.beta * p.exp() + (1 - how.beta) * q.exp()).log()
    forward, reverse = (p.exp() * (p - q)).sum(-1), (q.exp() * (q - p)).sum(-1)
    mixed = how.beta * (p.exp() * (p - m)).sum(-1) + (1 - how.beta) * (q.exp() * (q - m)).sum(-1)
    return {"forward_kl": forward, "reverse_kl": reverse, "jsd": mixed}[how.kind] * how.temperature**2


def outcomes(logits: Tensor, ids: Tensor) -> Tensor:
    """Return log-probabilities [n, k + 1] of k ids and of all others together, by torch's own steps."""
    every = logits.log_softmax(-1)
    return torch.cat([every.gather(1, ids), every.scatter(1, ids, -torch.inf).logsumexp(-1, keepdim=True)], -1)


def plain_ranks(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return the differences [n] of all sorted probabilities."""
    ranked = [side.softmax(-1).sort(-1, descending=True).values for side in (logits, teacher)]
    longest = max(side.shape[-1] for side in ranked)
    mine, theirs = (pad(side, (0, longest - side.shape[-1])) for side in ranked)
    return (mine - theirs).abs().sum(-1)


def best(teacher: Tensor, k: int) -> Tensor:
    return outcomes(teacher, teacher.topk(k).indices)


def logits_of(seed: int, rows: int = 3, size: int = 11, spread: float = 2.0) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread


def learnt(lesson: Lesson, logits: Tensor, labels: Tensor | None = None, rows: int = 99) -> tuple[float, Tensor]:
    """Return loss and gradient as a lesson finds them, so many rows at a time; no label counts where its weights are 1."""
    found, loss = logits.clone(), 0.0
    labels = torch.zeros(len(logits), dtype=torch.int64) if labels is None else labels
    for begin in range(0, len(logits), rows):
        piece = slice(begin, begin + rows)
        lesson.open(begin, len(found[piece]))
        loss += float(lesson.learn(found[piece], labels[piece], begin, True))
    return loss, found


def ones(logits: Tensor) -> Tensor:
    return torch.ones(len(logits), dtype=logits.dtype)


def sparse(logits: Tensor, teacher: Tensor, ids: Tensor, how: Divergence) -> tuple[float, Tensor]:
    return learnt(Outcomes(ones(logits), ids, outcomes(teacher, ids), how), logits)


def whole(logits: Tensor, teacher: Tensor, how: Divergence) -> tuple[float, Tensor]:
    size = logits.shape[-1]
    return learnt(Whole(ones(logits), lambda begin, count: teacher[begin : begin + count], (size, size), how), logits)


def ranks(logits: Tensor, logprobs: Tensor) -> tuple[float, Tensor]:
    return learnt(Ranks(ones(logits), logprobs), logits)


class Given:
    """Random logits of both sides, labels of which some are among the k ids, and weights of which one is 0."""

    def __init__(self, weight: float = 0.7, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(0)
        self.logits = logits_of(1, N, SIZE, 3).to(dtype)
        self.teacher = logits_of(2, N, SIZE, 3).to(dtype)
        self.ids = self.teacher.topk(K).indices
        self.logprobs = outcomes(self.teacher, self.ids)
        self.labels = torch.randint(0, SIZE, (N,), generator=generator)
        self.labels[:5] = self.ids[:5, 2]
        self.weights = torch.full((N,), weight, dtype=dtype)
        self.weights[3] = 0.0
        self.shares = torch.rand(N, 6, generator=generator).to(dtype)
        self.drawn = torch.randint(0, SIZE, (N, 6), generator=generator)  # a token may be drawn twice

    def each(self, how: Divergence) -> dict[str, tuple[Lesson, Callable[[Tensor], Tensor]]]:
        """Return every lesson, and its losses [n] by torch's own steps."""
        return {
            "outcomes": (
                Outcomes(self.weights, self.ids, self.logprobs, how),
                lambda logits: plain_divergence(outcomes(logits, self.ids), self.logprobs, how),
            ),
            "whole": (
                Whole(self.weights, lambda begin, count: self.teacher[begin : begin + count], (SIZE, SIZE), how),
                lambda logits: plain_divergence(logits, self.teacher, how),
            ),
            "draws": (
                Draws(self.weights, self.drawn, self.shares),
                lambda logits: -(self.shares * logits.log_softmax(-1).gather(1, self.drawn)).sum(-1),
            ),
            "ranks": (
                Ranks(self.weights, best(self.teacher, K)),
                lambda logits: (best(logits, K).exp() - best(self.teacher, K).exp()).abs().sum(-1),
            ),
        }

    def expected(self, logits: Tensor, losses: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the loss of a divergence [n] mixed with the labels' cross-entropy, as torch finds it."""
        of_labels = cross_entropy(logits, self.labels, reduction="none")
        return (self.weights * losses(logits) + (1 - self.weights) * of_labels).sum()
