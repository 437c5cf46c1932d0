"""Products of activations are added up as they pass; with worker and pillm apart it is `test_moments.py`."""

from __future__ import annotations

import numpy as np
from pillm_llamacpp.choosing.products import Products


def test_the_mean_products_are_those_of_all_rows_however_they_come() -> None:
    rows = np.random.default_rng(0).normal(0, 1, (300, 70)).astype(np.float32)
    products = Products(block=32)
    for begin in range(0, 300, 90):
        products._sum("w", rows[begin : begin + 90])
    assert products.rows["w"] == 300
    assert [block.shape for block in products.blocks["w"]] == [(32, 32), (32, 32), (6, 6)]
    for number, block in enumerate(products.blocks["w"]):
        part = rows[:, 32 * number : 32 * number + 32]
        np.testing.assert_allclose(block, part.T @ part, rtol=1e-4, atol=1e-3)
