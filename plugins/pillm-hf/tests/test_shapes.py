"""The shape of a student: which layers it keeps, and which sizes fit together."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_hf.shrinking.shapes import chosen_layers, layer_count, with_layers, with_sizes

import pillm

SHAPE: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 4, "hidden_size": 64, "head_dim": 16,
    "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "layer_types": ["a", "b", "c", "d"],
    "eos_token_id": [1, 2, 3, 4], "vocab_size": 320,
}  # fmt: skip


@given(count=st.integers(1, 96), data=st.data())
def test_a_number_of_layers_is_spread_evenly_from_the_first_to_the_last(count: int, data: st.DataObject) -> None:
    asked = data.draw(st.integers(1, count))
    layers = chosen_layers(asked, count)
    assert len(set(layers)) == asked
    assert layers == sorted(layers)
    assert layers[0] == 0
    assert layers[-1] == (count - 1 if asked > 1 else 0)
    gaps = {after - before for before, after in pairwise(layers)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_layers_are_named_once_in_order() -> None:
    assert chosen_layers([0, 2, 3], 4) == [0, 2, 3]
    for wrong in ([], [1, 0], [0, 0], [-1], [0, 4]):
        with pytest.raises(pillm.ConfigError, match=r"each layer once, in ascending order; the base's are 0 to 3"):
            chosen_layers(wrong, 4)
    for number in (0, 5):
        with pytest.raises(pillm.ConfigError, match="the base has 4 layers"):
            chosen_layers(number, 4)


def test_what_is_said_layer_by_layer_follows_the_layers() -> None:
    cut = with_layers(SHAPE, [0, 3])
    assert (cut["num_hidden_layers"], cut["layer_types"]) == (2, ["a", "d"])
    assert cut["eos_token_id"] == [1, 2, 3, 4]
    assert layer_count(with_layers({"n_layer": 3}, [1])) == ("n_layer", 1)


def test_what_the_base_derived_from_a_size_is_derived_anew() -> None:
    assert "head_dim" not in with_sizes(SHAPE, {"hidden_size": 32})
    assert with_sizes(SHAPE, {"hidden_size": 32, "head_dim": 16})["head_dim"] == 16
    assert with_sizes({**SHAPE, "head_dim": 32}, {"hidden_size": 128})["head_dim"] == 32
    assert "layer_types" not in with_sizes(SHAPE, {"num_hidden_layers": 2})
    assert with_sizes(SHAPE, {})["layer_types"] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"layers": 2}, "layers cannot be set for a student from scratch. Its sizes are hidden_size, intermediate_size"),
        ({"vocab_size": 9}, "vocab_size cannot be set"),
        ({"eos_token_id": 9}, "eos_token_id cannot be set"),
        ({"hidden_size": 66}, "hidden_size=66 is no multiple of num_attention_heads=4"),
        ({"num_attention_heads": 8, "num_key_value_heads": 3}, "num_attention_heads=8 is no multiple of num_key_value_heads=3"),
        ({"hidden_size": 12}, "a head is 3 wide"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be 1 or more"),
        ({"num_key_value_heads": 0, "hidden_size": -4}, "hidden_size, num_key_value_heads must be 1 or more"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused_in_a_sentence(sizes: dict[str, Any], reason: str) -> None:
    with pytest.raises(pillm.ConfigError, match=f"config: {reason}"):
        with_sizes(SHAPE, sizes)


def test_a_shape_without_layers_at_its_top_cannot_be_cut() -> None:
    with pytest.raises(pillm.ConfigError, match="Choose a plain text model"):
        layer_count({"text_config": {"num_hidden_layers": 4}})
