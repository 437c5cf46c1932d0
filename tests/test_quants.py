"""Storage types and the mixes that quantisation names stand for."""

from __future__ import annotations

from collections import Counter

import pytest

from pillm.devices.quants import (
    BLOCKS,
    QUANT_OF_FILE_TYPE,
    QUANTS,
    TYPE_OF_ID,
    bits,
    embedding_type,
    head_type,
    known_quant,
    layer_type,
    stored_bytes,
)
from pillm.errors import ConfigError


def test_every_type_that_a_file_may_name_has_a_size() -> None:
    assert set(TYPE_OF_ID.values()) == set(BLOCKS)
    assert set(QUANTS.values()) <= set(BLOCKS)
    assert set(QUANTS) <= set(QUANT_OF_FILE_TYPE.values())


@pytest.mark.parametrize(("type_", "bpw"), [("Q4_K", 4.5), ("Q8_0", 8.5), ("Q6_K", 6.5625), ("IQ4_NL", 4.5), ("F16", 16.0)])
def test_bits_per_weight_are_those_of_the_format(type_: str, bpw: float) -> None:
    assert bits(type_) == bpw
    assert stored_bytes(type_, 2560) == 2560 * bpw / 8


def test_a_quantisation_is_known_in_any_case_and_a_misspelt_one_is_told() -> None:
    assert known_quant("q4_k_m") == "Q4_K_M"
    with pytest.raises(ConfigError, match="Did you mean 'Q4_K_M'"):
        known_quant("Q4_KM")


@pytest.mark.parametrize(
    ("quant", "columns", "type_"),
    [
        ("Q4_K_M", 1024, "Q6_K"), ("Q4_0", 1024, "Q6_K"), ("IQ4_NL", 896, "Q8_0"), ("Q4_K_M", 896, "Q8_0"),
        ("Q8_0", 896, "Q8_0"), ("F16", 100, "F16"), ("Q4_0", 100, "F16"),
    ],
)  # fmt: skip
def test_the_head_gets_more_bits(quant: str, columns: int, type_: str) -> None:
    assert head_type(quant, columns) == type_


def test_rows_that_do_not_divide_by_256_fall_back() -> None:
    assert layer_type("Q4_K_M", "attn_q", 896, (0, 24), False) == "Q5_0"
    assert layer_type("Q4_K_M", "ffn_down", 896, (0, 24), False) == "Q8_0"
    assert layer_type("Q3_K_S", "attn_q", 896, (0, 24), False) == "Q4_0"
    assert layer_type("IQ4_NL", "attn_q", 896, (0, 24), False) == "IQ4_NL"
    assert layer_type("Q8_0", "attn_q", 50, (0, 24), False) == "F16"
    assert embedding_type("Q4_K_M", 896) == "Q5_0"


def test_half_of_the_feed_forward_outputs_of_q4_k_m_are_q6_k() -> None:
    types = Counter(layer_type("Q4_K_M", "ffn_down", 1024, (layer, 24), False) for layer in range(24))
    assert types == {"Q6_K": 12, "Q4_K": 12}


@pytest.mark.parametrize(
    ("quant", "columns", "types"),
    [
        ("TQ2_0", 256, ("TQ2_0", "Q4_K", "Q6_K")), ("TQ1_0", 256, ("TQ1_0", "Q4_K", "Q6_K")),
        ("Q2_0", 256, ("Q2_0", "Q4_K", "Q6_K")), ("Q1_0", 256, ("Q1_0", "Q1_0", "Q6_K")),
        ("TQ2_0", 896, ("Q4_0", "Q5_0", "Q8_0")), ("Q2_0", 672, ("Q4_0", "Q5_0", "Q8_0")),
        ("MXFP4_MOE", 256, ("Q8_0", "Q8_0", "Q8_0")),
    ],
)  # fmt: skip
def test_the_smallest_types_keep_embedding_and_head_finer(quant: str, columns: int, types: tuple[str, str, str]) -> None:
    layer = layer_type(quant, "ffn_down", columns, (0, 4), False)
    assert (layer, embedding_type(quant, columns), head_type(quant, columns)) == types


def test_experts_alone_are_stored_in_mxfp4() -> None:
    assert layer_type("MXFP4_MOE", "ffn_up_exps", 256, (0, 4), False) == "MXFP4"
    assert layer_type("MXFP4_MOE", "ffn_up_shexp", 256, (0, 4), False) == "Q8_0"
    assert layer_type("Q4_K_M", "ffn_down_exps", 256, (0, 8), False) == "Q6_K", "a rule of the part holds for its experts"


def test_shared_heads_and_first_layers_are_kept_finer() -> None:
    assert layer_type("IQ4_NL", "attn_v", 1024, (9, 24), True) == "Q5_K"
    assert layer_type("IQ4_NL", "attn_v", 1024, (9, 24), False) == "IQ4_NL"
    assert layer_type("Q4_K_S", "attn_v", 1024, (3, 24), False) == "Q5_K"
    assert layer_type("Q4_K_S", "attn_v", 1024, (4, 24), False) == "Q4_K"
