"""Codes packed by our tables, read back by gguf's own decoder."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from pillm_llamacpp.choosing.grids import FIELDS, Grid, decoded


def blocks(type_: str, rows: int = 3, seed: int = 0) -> np.ndarray:
    """Return rows of random blocks, their scales sane numbers."""
    size = GGML_QUANT_SIZES[GGMLQuantizationType[type_]][1]
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, (rows * 2, size), dtype=np.uint8)
    scale = random.uniform(0.01, 0.02, (rows * 2, 2)).astype(np.float16)
    halves = {"Q6_K": [208], "Q3_K": [108], "Q2_K": [80, 82], "Q5_K": [0, 2], "Q4_K": [0, 2], "Q4_1": [0, 2], "Q5_1": [0, 2]}
    for number, at in enumerate(halves.get(type_, [0])):
        data[:, at : at + 2] = scale[:, number : number + 1].view(np.uint8)
    return data.reshape(rows, -1)


@pytest.mark.parametrize("type_", FIELDS)
def test_every_value_of_a_quantised_tensor_is_found_and_packed_again(type_: str) -> None:
    data = blocks(type_)
    values = decoded(type_, data)
    grid = Grid(type_, data)
    codes = np.stack([grid.nearest(column, values[:, column])[0] for column in range(values.shape[1])], axis=1)
    np.testing.assert_allclose(decoded(type_, grid.packed(codes)), values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("type_", FIELDS)
def test_the_packed_codes_stand_for_the_values_that_were_promised(type_: str) -> None:
    data, random = blocks(type_, seed=1), np.random.default_rng(2)
    grid = Grid(type_, data)
    wanted = random.normal(0, 0.3, decoded(type_, data).shape).astype(np.float32)
    found = [grid.nearest(column, wanted[:, column]) for column in range(wanted.shape[1])]
    codes, promised = (np.stack([pair[which] for pair in found], axis=1) for which in (0, 1))
    assert codes.max() < grid.codes
    held = decoded(type_, grid.packed(codes))
    np.testing.assert_allclose(held, promised, rtol=1e-4, atol=1e-5)
    for code in range(0, grid.codes, max(1, grid.codes // 8)):  # no other code comes nearer
        other = decoded(type_, grid.packed(np.full_like(codes, code)))
        assert (np.abs(held - wanted) <= np.abs(other - wanted) + 1e-4).all()


@pytest.mark.parametrize("type_", FIELDS)
def test_scales_stay_as_they_are(type_: str) -> None:
    data = blocks(type_)
    grid = Grid(type_, data)
    some = np.random.default_rng(3).integers(0, grid.codes, decoded(type_, data).shape).astype(np.uint8)
    again = Grid(type_, grid.packed(some))
    np.testing.assert_array_equal(again.packed(some), grid.packed(some))
    assert (grid.packed(some) != data).any()


def test_a_block_without_a_scale_holds_zeros() -> None:
    data = np.zeros((2, 18), np.uint8)
    codes, values = Grid("Q4_0", data).nearest(0, np.array([0.5, -3], np.float32))
    assert values.tolist() == [0, 0]
    assert codes.max() < 16


def test_a_type_whose_weights_share_a_code_is_not_known() -> None:
    with pytest.raises(KeyError):
        Grid("IQ3_S", np.zeros((1, 110), np.uint8))
