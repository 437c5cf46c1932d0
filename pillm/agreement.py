"""How near a file computes to its checkpoint: a conversion should change nothing, a quantisation little."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How many conversations got the same token ids in training, after reload and in llama.cpp."""

    rows: int
    mismatches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How near what a file computes is to what its checkpoint computes, over `places` tokens, or texts of an encoder."""

    places: int
    largest: float
    """The largest difference of a logit, or of a number of an embedding of length 1."""
    top1: float | None = None
    """Share of places where both choose the same token; None for an encoder."""
    ties: int = 0
    """Places where they do not, and the checkpoint's two choices are nearer to each other than rounding."""
    kld: float | None = None
    """Mean Kullback-Leibler divergence from the checkpoint, in nats."""
    cosine: float | None = None
    """The least cosine of two embeddings of one text."""

    def __str__(self) -> str:
        if self.cosine is not None:
            return f"cosine at least {self.cosine:.5f} over {self.places} texts, numbers differ by at most {self.largest:.1e}"
        tied = f" ({self.ties} ties)" if self.ties else ""
        told = f"top-1 {self.top1 or 0:.1%}{tied}, KLD {self.kld or 0:.1e}"
        return f"{told} over {self.places} tokens, logits differ by at most {self.largest:.1e}"
