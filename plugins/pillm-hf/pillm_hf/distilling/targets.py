"""A teacher's distributions at the places of an answer, and their compact form in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pillm
from pillm_hf.distilling.codes import bits_for, decode_logprobs, encode_logprobs, pack_ids, packed_bytes, unpack_ids

if TYPE_CHECKING:
    import torch

MOST_DRAWS = 255
"""Counts are held in 8 bits."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What token ids mean: the tokenizer's hash, and the size, in columns, of the student's output."""

    tokenizer_hash: str
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What is held for each position: k ids with log-probabilities, and so many draws from the rest; over a vocabulary's size.

    Raises DataError where that is nothing, ConfigError where it is more draws than a count can hold.
    """

    size: int
    k: int
    draws: int = 0

    def __post_init__(self) -> None:
        if self.k < 1 and self.draws < 1:
            raise pillm.DataError(
                "the labels hold no log-probabilities to learn from (k is 0). Label again with logprobs=16 or more."
            )
        if self.draws > MOST_DRAWS:
            raise pillm.ConfigError(f"draws is {self.draws}; a count is held in 8 bits. Choose at most {MOST_DRAWS}.")


@dataclass(frozen=True, slots=True)
class Targets:
    """A teacher's distributions at temperature 1 at n positions: k exact outcomes and the rest, and draws from the rest.

    Shapes: ids [n, k] int64, logprobs [n, k + 1] float32 with the rest last, drawn and counts [n, width] int64.
    """

    ids: torch.Tensor
    logprobs: torch.Tensor
    drawn: torch.Tensor
    counts: torch.Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, begin: int, end: int) -> Targets:
        """Return the distributions at some of the positions."""
        return Targets(*(side[begin:end] for side in (self.ids, self.logprobs, self.drawn, self.counts)))

    @property
    def width(self) -> int:
        """Return the most ids that were drawn at one position."""
        return int((self.counts > 0).sum(-1).max()) if self.counts.numel() else 0

    def shares(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and shares, both [n, k + width], for `lessons.Draws`."""
        import torch

        chances = self.logprobs.exp()
        of_rest = chances[:, -1:] * self.counts / self.counts.sum(-1, keepdim=True).clamp_min(1)
        return torch.cat([self.ids, self.drawn], -1), torch.cat([chances[:, :-1], of_rest], -1)


def to_bytes(targets: Targets, layout: Layout) -> bytes:
    """Return distributions as bytes; raise DataError where they are not of that layout."""
    n, bits = len(targets), bits_for(layout.size)
    shaped = targets.ids.shape == (n, layout.k) and targets.logprobs.shape == (n, layout.k + 1)
    known = all(((ids >= 0) & (ids < layout.size)).all() for ids in (targets.ids, targets.drawn))
    if not shaped or not known or not (targets.counts.sum(-1) == layout.draws).all():
        raise pillm.DataError(
            f"distributions over {tuple(targets.ids.shape)} ids are none of k={layout.k} and draws={layout.draws} over a "
            f"vocabulary of {layout.size}. Make them anew with the student's vocabulary."
        )
    parts = []
    if layout.k:
        parts += [pack_ids(targets.ids.numpy().ravel(), bits), encode_logprobs(targets.logprobs.numpy()).tobytes()]
    if layout.draws:
        drawn, counts = targets.drawn.numpy(), targets.counts.numpy()
        used = counts > 0
        parts += [used.sum(-1).astype("u1").tobytes(), counts[used].astype("u1").tobytes(), pack_ids(drawn[used], bits)]
    return b"".join(parts)


def from_bytes(data: bytes, n: int, layout: Layout, width: int) -> Targets:
    """Return the n distributions that `to_bytes` wrote, with `width` places for what was drawn at each."""
    import numpy as np
    import torch

    bits, every = bits_for(layout.size), np.frombuffer(data, np.uint8)
    of_ids, of_codes = (packed_bytes(n * layout.k, bits), n * (layout.k + 1)) if layout.k else (0, 0)
    packed, codes, sampled = np.split(every, [of_ids, of_ids + of_codes])
    used = sampled[:n] if layout.draws else np.zeros(n, np.uint8)
    total = int(used.sum())
    counted = sampled[n : n + total]
    drawn, counts = np.zeros((n, width), np.int64), np.zeros((n, width), np.int64)
    taken = np.arange(width) < used[:, None]
    counts[taken], drawn[taken] = counted, unpack_ids(sampled[n + total :], total, bits)
    logprobs = decode_logprobs(codes.reshape(n, layout.k + 1)) if layout.k else np.zeros((n, 1), np.float32)
    return Targets(
        torch.from_numpy(unpack_ids(packed, n * layout.k, bits).reshape(n, layout.k)),
        torch.from_numpy(logprobs),
        torch.from_numpy(drawn),
        torch.from_numpy(counts),
    )
