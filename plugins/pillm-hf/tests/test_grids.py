"""The grids of quantised weights: equal, weight for weight, to what llama.cpp's own library makes of the same matrix."""

from __future__ import annotations

import ctypes
from typing import get_args

import numpy as np
import pytest
import torch
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_cpp._ggml import libggml
from pillm_hf.rounding.grids import BLOCK, Grid, choose, rounded

GRIDS = get_args(Grid)
_quantise = libggml.ggml_quantize_chunk
_quantise.restype = ctypes.c_size_t
_quantise.argtypes = (
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
)  # fmt: skip


def by_llama_cpp(weight: torch.Tensor, grid: str) -> torch.Tensor:
    """Return what llama.cpp reads of a matrix [out, in] that it quantised."""
    kind = GGMLQuantizationType[grid]
    given = weight.float().contiguous().numpy()
    libggml.ggml_quantize_init(int(kind))
    codes = np.empty(given.size // BLOCK * {"Q4_0": 18, "IQ4_NL": 18, "Q8_0": 34}[grid], np.uint8)
    size = _quantise(int(kind), given.ctypes.data, codes.ctypes.data, 0, *given.shape, None)
    assert size == codes.size
    return torch.from_numpy(np.array(dequantize(codes.reshape(len(given), -1), kind)))


SPECIAL = [0.0, -0.0, 1e-45, 1e-39, 6e-8, 1e-15, 1e-7, 0.5, 1.0, -1.0, 7.0, 127.0, 500.0]


@st.composite
def matrices(draw: st.DrawFn) -> torch.Tensor:
    """Return a matrix whose blocks are of many sizes, some with zeros, ties, single weights or weights of 16 bit."""
    rows, width = draw(st.integers(1, 4)), BLOCK * draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scales = 10.0 ** rng.uniform(*draw(st.sampled_from([(-2, 0), (-9, 3), (-45, -4), (1, 5)])), size=(rows, width // BLOCK, 1))
    kind = draw(st.sampled_from(["normal", "heavy", "ties", "sparse", "special"]))
    normal = rng.standard_normal((rows, width // BLOCK, BLOCK))
    made = {
        "normal": lambda: normal * scales,
        "heavy": lambda: normal**5 * scales,
        "ties": lambda: rng.integers(-8, 9, normal.shape) * scales,
        "sparse": lambda: normal * scales * (rng.random(normal.shape) < 0.05),
        "special": lambda: rng.choice(SPECIAL, normal.shape) * rng.choice([-1, 1], normal.shape),
    }[kind]()
    weight = torch.from_numpy(made.astype(np.float32)).view(rows, width).clamp(-5e5, 5e5)
    return weight.to(draw(st.sampled_from([torch.float32, torch.bfloat16])))


@pytest.mark.parametrize("grid", GRIDS)
@settings(max_examples=300, deadline=None)
@given(weight=matrices())
def test_every_weight_is_the_one_that_llama_cpp_reads(grid: Grid, weight: torch.Tensor) -> None:
    assert torch.equal(rounded(weight, grid), by_llama_cpp(weight, grid))


@settings(max_examples=100, deadline=None)
@given(weight=matrices())
def test_a_choice_of_scales_that_is_kept_gives_what_a_search_gives(weight: torch.Tensor) -> None:
    assert torch.equal(rounded(weight, "IQ4_NL", choose(weight)), rounded(weight, "IQ4_NL"))


@pytest.mark.parametrize("grid", GRIDS)
def test_a_whole_layer_is_the_same_to_the_last_bit(grid: Grid) -> None:
    weight = torch.randn(896, 512, generator=torch.Generator().manual_seed(5)) * 0.04
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        assert torch.equal(rounded(weight.to(kind), grid), by_llama_cpp(weight.to(kind), grid))


def test_halves_of_q8_0_are_rounded_away_from_zero_and_what_is_just_below_is_not() -> None:
    weight = torch.zeros(1, BLOCK)
    weight[0, :9] = torch.tensor([127, 0.5, -0.5, 1.5, -2.5, 0.49999997, -0.49999997, 2.4999998, 126.5])
    found = rounded(weight, "Q8_0")
    assert found[0, :9].tolist() == [127, 1, -1, 2, -3, 0, 0, 2, 127]
    assert torch.equal(found, by_llama_cpp(weight, "Q8_0"))


@pytest.mark.parametrize("grid", ["Q4_0", "Q8_0"])
def test_the_reference_in_numpy_agrees(grid: Grid) -> None:
    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(6))
    kind = GGMLQuantizationType[grid]
    expected = dequantize(quantize(weight.numpy(), kind), kind)
    # numpy's own halves are rounded apart from C's, once in many thousand weights
    same = torch.isclose(rounded(weight, grid), torch.from_numpy(expected), rtol=1e-6, atol=0)
    assert same.float().mean() > 0.999
