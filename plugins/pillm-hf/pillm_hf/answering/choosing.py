"""Choose the next token of every row: greedily, or by a draw that belongs to the request alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen: temperature 0 is greedy; `logprobs` alternatives are noted for each token.

    With `constrain` an answer is held to its row's schema.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    logprobs: int = 0
    constrain: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """How much is done at once: rows, and MiB of key-value cache; None where the model and the machine decide."""

    batch_size: int | None = None
    kv_memory: int | None = None


def draws_for(key: str, sample: int, sampling: Sampling, count: int) -> torch.Tensor | None:
    """Return the uniform numbers that choose a request's tokens, or None where the choice is greedy.

    They depend on the seed, the request's key and its sample number: never on the rows that share its batch.
    """
    if sampling.temperature == 0:
        return None
    import torch

    name = f"{sampling.seed}|{key}|{sample}".encode()
    generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1)
    return torch.rand(count, generator=generator)


def choose(logits: torch.Tensor, draws: torch.Tensor | None, sampling: Sampling) -> torch.Tensor:
    """Return one token id per row of `logits` [rows, vocabulary]; `draws` [rows] are uniform in [0, 1)."""
    if draws is None:
        return logits.argmax(-1)
    import torch

    scaled, ids = (logits.float() / sampling.temperature).sort(dim=-1, descending=True, stable=True)
    if sampling.top_k:
        scaled, ids = scaled[:, : sampling.top_k], ids[:, : sampling.top_k]
    weights = scaled.softmax(-1)
    before = weights.cumsum(-1) - weights
    weights = weights.masked_fill(before >= sampling.top_p, 0)  # the best token stays: nothing is before it
    reach = weights.cumsum(-1)
    place = torch.searchsorted(reach, draws.to(reach).unsqueeze(1) * reach[:, -1:], right=True)
    last = (weights > 0).sum(-1, keepdim=True) - 1  # rounding must not reach a token of weight 0
    return ids.gather(1, place.minimum(last)).squeeze(1)


def alternatives(logits: torch.Tensor, count: int) -> list[list[tuple[int, float]]]:
    """Return for each row its `count` most likely (token id, natural log-probability), best first, at temperature 1."""
    wide = logits.float()
    values, ids = wide.topk(min(count, logits.shape[-1]), dim=-1)
    values = values - wide.logsumexp(-1, keepdim=True)  # the sum alone: a whole softmax would be written to be thrown away
    return [list(zip(*row, strict=True)) for row in zip(ids.tolist(), values.tolist(), strict=True)]
