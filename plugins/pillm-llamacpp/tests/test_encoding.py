"""What is stored is what the converter's own gguf-py stores, for every float there is."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_llamacpp.writing.encoding import BLOCK, bytes_per_row, encode, narrowed
from pillm_llamacpp.writing.shards import widened

KINDS = gguf.GGMLQuantizationType
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
MODEST = st.floats(-60000, 60000, width=32)


def theirs(kind: str, rows: np.ndarray[Any, Any]) -> bytes:
    return gguf.quants.quantize(rows, KINDS[kind]).tobytes()


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0"])
@settings(max_examples=60, deadline=None)
@given(values=st.lists(MODEST, min_size=2 * BLOCK, max_size=2 * BLOCK))
def test_any_row_becomes_the_bytes_of_the_converter(kind: str, values: list[float]) -> None:
    rows = np.array(values, np.float32).reshape(2, BLOCK)
    assert encode(kind, rows).tobytes() == theirs(kind, rows)
    assert len(encode(kind, rows).tobytes()) == 2 * bytes_per_row(kind, BLOCK)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0"])
@pytest.mark.parametrize("like", ["BF16", "F16"])
def test_weights_of_16_bit_become_what_they_would_from_32(kind: str, like: str) -> None:
    random = np.random.default_rng(1)
    sizes = 10.0 ** random.integers(-9, 3, (64, 1))
    rows = narrowed((random.standard_normal((64, 96)) * sizes).astype(np.float32), like)
    rows[3] = 0
    assert encode(kind, rows).tobytes() == theirs(kind, widened(rows))


@given(values=st.lists(FINITE, min_size=1, max_size=50))
def test_rounding_to_bf16_is_to_the_nearest_and_then_to_even(values: list[float]) -> None:
    rows = np.array([values], np.float32)
    assert narrowed(rows, "BF16").tobytes() == theirs("BF16", rows)


def test_what_is_no_number_stays_none() -> None:
    rows = np.array([[0x7F800001, 0xFFFFFFFF, 0x7F800000, 0xFF800000]], np.uint32).view(np.float32)
    assert np.isnan(widened(narrowed(rows, "BF16"))).tolist() == [[True, True, False, False]]
    assert narrowed(rows, "F32") is rows
