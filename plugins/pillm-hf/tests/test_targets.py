"""Targets: what goes in as bytes comes out as it was, save the rounding of 8 bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_hf.distilling.targets import Layout, Targets, from_bytes, to_bytes
from pillm_hf.losses.divergences import draw, with_rest

import pillm

NONE = torch.zeros((2, 0), dtype=torch.int64)


def made(seed: int, n: int, size: int, k: int, draws: int) -> Targets:
    """Return the targets of a random teacher."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, size, generator=generator) * 3
    best = logits.log_softmax(-1).topk(k)
    logprobs = with_rest(best.values) if k else torch.zeros(n, 1)
    empty = torch.zeros((n, 0), dtype=torch.int64)
    drawn = draw(logits, draws, exact=best.indices if k else None, generator=generator) if draws and n else (empty, empty)
    return Targets(best.indices, logprobs, *drawn)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.integers(0, 6), st.integers(8, 5000), st.integers(0, 7), st.sampled_from([0, 1, 12, 255]))
def test_targets_come_back(seed: int, n: int, size: int, k: int, draws: int) -> None:
    if not k and not draws:
        return
    targets, layout = made(seed, n, size, k, draws), Layout(size, k, draws)
    found = from_bytes(to_bytes(targets, layout), n, layout, targets.width + 1)
    assert torch.equal(found.ids, targets.ids)
    torch.testing.assert_close(found.logprobs.exp(), targets.logprobs.exp(), rtol=0.2, atol=0.02)
    assert found.counts.shape[1] == targets.width + 1
    for row in range(n):
        used, kept = targets.counts[row] > 0, found.counts[row] > 0
        assert targets.drawn[row][used].tolist() == found.drawn[row][kept].tolist()
        assert targets.counts[row][used].tolist() == found.counts[row][kept].tolist()


@given(st.integers(0, 999), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_shares_sum_to_one_and_draws_share_the_rest(seed: int, k: int) -> None:
    targets = made(seed, 3, 50, k, 20)
    ids, shares = targets.shares()
    assert ids.shape == shares.shape
    torch.testing.assert_close(shares.sum(-1), torch.ones(3))
    torch.testing.assert_close(shares[:, k:].sum(-1), targets.logprobs[:, -1].exp())


def test_qwens_vocabulary_takes_105_bytes_a_position() -> None:
    assert len(to_bytes(made(0, 100, 151_936, 32, 0), Layout(151_936, 32))) == 10_500


@pytest.mark.parametrize(
    "wrong",
    [
        {"ids": torch.tensor([[1, 9], [2, 3]])},
        {"ids": torch.tensor([[1, -1], [2, 3]])},
        {"ids": torch.tensor([[1], [2]])},
        {"logprobs": torch.zeros(2, 2)},
        {"drawn": torch.tensor([[1], [2]]), "counts": torch.tensor([[1], [1]])},
    ],
)
def test_targets_of_another_layout_are_refused(wrong: dict[str, Any]) -> None:
    fine = {"ids": torch.tensor([[1, 4], [2, 3]]), "logprobs": torch.zeros(2, 3), "drawn": NONE, "counts": NONE}
    assert to_bytes(Targets(**fine), Layout(9, 2))
    with pytest.raises(pillm.DataError, match="k=2 and draws=0 over a vocabulary of 9"):
        to_bytes(Targets(**{**fine, **wrong}), Layout(9, 2))


def test_a_layout_of_nothing_is_refused_with_advice() -> None:
    with pytest.raises(pillm.DataError, match=r"k is 0.*logprobs=16"):
        Layout(9, 0)
    with pytest.raises(pillm.ConfigError, match="at most 255"):
        Layout(9, 0, 256)
