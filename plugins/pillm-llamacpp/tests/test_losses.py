"""What tensors lose in a type, and how tensors are grouped to measure it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_llamacpp.choosing.losses import Matrix, groups, priced, product_error, spread

LAYERS = [
    Matrix(name=f"blk.{layer}.{part}.weight", columns=256, weights=256 * 256)
    for layer in range(6)
    for part in ("attn_q", "ffn_down")
]
HEAD = Matrix(name="token_embd.weight", columns=256, weights=256 * 1000)


def test_the_error_is_that_of_the_product_itself() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(0, 1, (500, 64)).astype(np.float32)
    difference = random.normal(0, 0.1, (10, 64)).astype(np.float32)
    truth = float(np.square(inputs @ difference.T).sum() / 500)
    moment = inputs.T @ inputs / 500
    assert product_error(difference, [moment]) == pytest.approx(truth, rel=1e-4)
    apart = product_error(difference, [moment[:32, :32], moment[32:, 32:]])
    assert apart == pytest.approx(
        sum(float(np.square(inputs[:, half] @ difference[:, half].T).sum() / 500) for half in (slice(32), slice(32, 64))),
        rel=1e-4,
    )
    assert product_error(difference, (), np.ones(64, np.float32)) == pytest.approx(float(np.square(difference).sum()), rel=1e-4)
    assert product_error(difference) == pytest.approx(float(np.square(difference).sum()), rel=1e-4)


def test_each_expert_of_a_mixture_has_its_own_means() -> None:
    means = np.array([1, 2, 3, 10, 20, 30], np.float32)
    rows = spread(means, (4, 3))
    assert rows.tolist() == [[1, 2, 3], [1, 2, 3], [10, 20, 30], [10, 20, 30]]
    assert spread(means, (4, 6)).tolist() == means.tolist(), "a dense weight has one row of means for all"
    assert product_error(np.ones((4, 3), np.float32), (), rows) == pytest.approx(2 * 6 + 2 * 60)


@given(st.integers(1, 40))
def test_groups_cover_each_tensor_once_and_mix_no_parts(most: int) -> None:
    found = groups([HEAD, *LAYERS], most)
    assert sorted(one.name for group in found for one in group) == sorted(one.name for one in [HEAD, *LAYERS])
    assert len(found) <= max(most, 3)
    assert all(len({one.name.split(".", 2)[-1] for one in group}) == 1 for group in found)
    assert (HEAD,) in found


def test_every_tensor_stands_alone_where_there_is_room() -> None:
    assert all(len(group) == 1 for group in groups([HEAD, *LAYERS], 13))


def test_a_measured_divergence_is_shared_by_errors_and_carried_over_to_other_types() -> None:
    errors = {"a": {"Q4_0": 3.0, "Q8_0": 0.03}, "b": {"Q4_0": 1.0, "Q8_0": 0.01}}
    asked: list[Mapping[str, str]] = []

    def measure(types: Mapping[str, str]) -> float:
        asked.append(dict(types))
        return 0.4

    matrices = [Matrix(name=name, columns=32, weights=64) for name in errors]
    parts = priced([matrices], errors, lambda columns: "Q4_0", measure)
    assert asked == [{"a": "Q4_0", "b": "Q4_0"}]
    losses = {part.name: {one.type: one.loss for one in part.options} for part in parts}
    assert losses["a"] == pytest.approx({"Q4_0": 0.3, "Q8_0": 0.003})
    assert losses["b"] == pytest.approx({"Q4_0": 0.1, "Q8_0": 0.001})
    assert [one.bytes for one in parts[0].options] == [36, 68]


def test_a_tensor_that_a_type_holds_exactly_costs_nothing() -> None:
    matrix = Matrix(name="a", columns=32, weights=64)
    (part,) = priced([[matrix]], {"a": {"Q4_0": 0.0, "Q8_0": 0.0}}, lambda columns: "Q4_0", lambda types: 0.1)
    assert [one.loss for one in part.options] == [0.0, 0.0]
