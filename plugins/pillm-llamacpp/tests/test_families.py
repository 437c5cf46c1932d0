from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp.writing.families import FAMILIES, Part, family_of, heads_of, rope_of, turned

LLAMA = {"architectures": ["LlamaForCausalLM"], "num_attention_heads": 4, "max_position_embeddings": 512}


@pytest.mark.parametrize(
    ("more", "lacks", "why"),
    [
        ({"architectures": ["ParrotForCausalLM"]}, "uncovered", "ParrotForCausalLM is written by the converter only"),
        ({"architectures": []}, "uncovered", "none"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "uncovered", "quantization_config"),
        ({"num_local_experts": 4}, "uncovered", "num_local_experts"),
        ({"architectures": ["Phi3ForCausalLM"], "rope_scaling": {"long_factor": [1.0]}}, "uncovered", "long rotary"),
        ({"is_causal": False}, "vocabulary", "is_causal"),
        ({"partial_rotary_factor": 0.5}, "vocabulary", "partial_rotary_factor"),
        ({"architectures": ["Olmo2ForCausalLM"], "sliding_window": 64}, "vocabulary", "sliding_window"),
    ],
)
def test_what_is_not_covered_is_left_to_the_converter(more: dict[str, Any], lacks: str, why: str) -> None:
    with pytest.raises(Refusal, match=why) as caught:
        family_of({**LLAMA, **more})
    assert caught.value.kind == lacks
    if lacks == "vocabulary":
        family_of({**LLAMA, **more}, keys_known=True)


def test_an_old_and_a_new_configuration_say_the_same_of_rotation() -> None:
    family = FAMILIES["LlamaForCausalLM"]
    old = {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    new = {"rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}}
    for config in (old, new):
        told = rope_of(family, {**LLAMA, **config})
        assert (told["rope_type"], told["rope_theta"], told["factor"]) == ("linear", 5e5, 2.0)
    assert rope_of(family, LLAMA) == {"rope_theta": 10000.0, "rope_type": "default"}
    assert rope_of(FAMILIES["SmolLM3ForCausalLM"], LLAMA)["rope_theta"] == 2e6


def test_rotation_for_each_kind_of_layer_is_not_covered() -> None:
    with pytest.raises(Refusal, match="each kind of layer"):
        rope_of(FAMILIES["LlamaForCausalLM"], {"rope_parameters": {"full_attention": {"rope_theta": 1.0}}})


def test_heads_that_answer_are_as_many_as_ask_where_nothing_is_said() -> None:
    assert heads_of(LLAMA, FAMILIES["LlamaForCausalLM"]) == (4, 4)
    assert heads_of({**LLAMA, "num_key_value_heads": None}, FAMILIES["MistralForCausalLM"]) == (4, 4)
    assert heads_of({**LLAMA, "num_key_value_heads": 2}, FAMILIES["MistralForCausalLM"]) == (4, 2)


def test_turning_deals_out_the_halves_of_each_head() -> None:
    rows = np.arange(8).reshape(8, 1)
    assert turned(rows, 1).ravel().tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert turned(rows, 2).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    halves = [turned(rows[:4], 1), turned(rows[4:], 1)]
    assert np.array_equal(np.concatenate(halves), turned(rows, 2))  # so heads may go through one by one


def test_rows_that_blocks_do_not_fit_are_stored_as_f16() -> None:
    assert Part("a.weight", (4, 48), None).stored_as("Q8_0") == "F16"
    assert Part("a.weight", (4, 64), None).stored_as("Q8_0") == "Q8_0"
    assert Part("a_norm.weight", (64,), None, exact=True).stored_as("Q8_0") == "F32"


def test_every_family_is_one_that_the_tests_compare_with_the_converter() -> None:
    from pillm_llamacpp_students import FAMILIES as COMPARED

    assert {told["architectures"][0] for told in COMPARED.values()} == set(FAMILIES)
    assert Path(__file__).with_name("test_writer.py").is_file()
