"""Rounding with the errors of earlier columns in mind."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_llamacpp.choosing.grids import decoded
from pillm_llamacpp.choosing.losses import product_error
from pillm_llamacpp.choosing.rounding import rounded


def layer(seed: int, columns: int = 128, rows: int = 24, together: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and the mean products of activations that go together, more or less."""
    random = np.random.default_rng(seed)
    weights = random.normal(0, 0.05, (rows, columns)).astype(np.float32)
    mixing = np.eye(columns) + together * random.normal(0, 1, (columns, columns)) / np.sqrt(columns)
    activations = random.normal(0, 1, (600, columns)) @ mixing * np.exp(random.normal(0, 1, columns))
    return weights, (activations.T @ activations / 600).astype(np.float32)


@pytest.mark.parametrize("type_", ["Q4_0", "Q4_1", "Q5_0", "Q8_0"])
def test_the_error_of_the_product_falls_and_the_size_stays(type_: str) -> None:
    weights, moment = layer(0)
    data = quantize(weights, GGMLQuantizationType[type_])
    better = rounded(weights, type_, data, [moment])
    assert better.shape == data.shape
    assert better.dtype == np.uint8
    errors = [product_error(weights - decoded(type_, one), [moment]) for one in (data, better)]
    assert errors[1] < 0.6 * errors[0]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.floats(0, 3))
def test_it_is_never_worse_than_rounding_alone(seed: int, together: float) -> None:
    weights, moment = layer(seed, columns=64, rows=8, together=together)
    data = quantize(weights, GGMLQuantizationType.Q4_0)
    errors = [
        product_error(weights - decoded("Q4_0", one), [moment]) for one in (data, rounded(weights, "Q4_0", data, [moment]))
    ]
    assert errors[1] <= errors[0] * 1.02


def test_blocks_of_columns_are_rounded_apart() -> None:
    weights, moment = layer(1)
    data = quantize(weights, GGMLQuantizationType.Q4_0)
    halves = [np.ascontiguousarray(moment[:64, :64]), np.ascontiguousarray(moment[64:, 64:])]
    both = rounded(weights, "Q4_0", data, halves)
    left = rounded(weights[:, :64], "Q4_0", np.ascontiguousarray(data[:, :36]), halves[:1])
    np.testing.assert_array_equal(both[:, :36], left)


def test_activations_that_never_occur_do_no_harm() -> None:
    weights, moment = layer(2)
    moment[:, :10] = moment[:10] = 0
    data = quantize(weights, GGMLQuantizationType.Q4_0)
    for given_ in (moment, np.zeros_like(moment)):
        held = decoded("Q4_0", rounded(weights, "Q4_0", data, [given_]))
        assert np.isfinite(held).all()
        assert np.abs(held - weights).max() < 0.1


def test_moments_that_do_not_cover_the_columns_are_refused() -> None:
    weights, moment = layer(3)
    data = quantize(weights, GGMLQuantizationType.Q4_0)
    with pytest.raises(ValueError, match="cover 64 of 128 columns"):
        rounded(weights, "Q4_0", data, [moment[:64, :64]])
