"""Divergences are what the formula says, also where only the likeliest tokens were kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pillm_llamacpp.measuring.distributions import Stored, Writer, kept_tokens, normalise


def logits(seed: int, rows: int = 40, vocabulary: int = 500) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((rows, vocabulary)) * 4).astype(np.float32)


def divergence(base: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the divergences in double precision, written out."""
    one, two = (np.exp(x.astype(np.float64)) / np.exp(x.astype(np.float64)).sum(axis=1, keepdims=True) for x in (base, other))
    return (one * np.log(one / two)).sum(axis=1)


def stored(folder: Path, base: np.ndarray, kept: int) -> Stored:
    with Writer(folder, kept, base.shape[1]) as writer:
        for part in np.array_split(base, 3):
            writer.add(normalise(part.copy()))
    return Stored(folder, kept, base.shape[1])


def test_logits_become_log_probabilities() -> None:
    found = normalise(logits(1) + 80)
    assert np.allclose(np.exp(found.astype(np.float64)).sum(axis=1), 1, atol=1e-5)
    ruled_out = logits(1)
    ruled_out[:, 3] = -np.inf
    assert np.isfinite(normalise(ruled_out)).all()


def test_all_tokens_are_kept_where_they_fit_and_a_bounded_number_elsewhere() -> None:
    assert kept_tokens(4096, 4096) == 4096
    many = kept_tokens(16384, 152_000)
    assert 64 <= many < 152_000
    assert 16384 * many * 8 <= 256 * 2**20
    assert kept_tokens(10**9, 152_000) == 64


def test_the_divergence_is_that_of_the_formula(tmp_path: Path) -> None:
    base, other = logits(1), logits(2)
    keeper = stored(tmp_path, base, base.shape[1])
    found, same = keeper.against(0, normalise(other.copy()))
    assert np.allclose(found, divergence(base, other), rtol=1e-4)
    assert same.tolist() == (base.argmax(axis=1) == other.argmax(axis=1)).tolist()
    later, _ = keeper.against(30, normalise(other[30:].copy()))
    assert np.array_equal(later, found[30:])
    assert keeper.against(0, normalise(base.copy()))[0].max() < 1e-6


@pytest.mark.parametrize("kept", [64, 200])
def test_with_the_likeliest_tokens_alone_it_is_a_close_lower_bound(tmp_path: Path, kept: int) -> None:
    base = logits(1)
    other = base + logits(2) * 0.05
    found, _ = stored(tmp_path, base, kept).against(0, normalise(other.copy()))
    exact = divergence(base, other)
    assert (found <= exact + 1e-6).all()
    assert found.mean() > 0.8 * exact.mean()
