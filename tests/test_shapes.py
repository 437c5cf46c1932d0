"""Model shapes, from GGUF headers and from config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.artifacts import Checkpoint
from pillm.devices.ggufheader import GGUFHeader, Tensor
from pillm.devices.shapes import ModelShape, from_config, from_header, shape_of
from pillm.errors import ConfigError, DataError, UnsafeError

LLAMA_1B = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "tie_word_embeddings": True,
    "max_position_embeddings": 131072,
}  # fmt: skip
QWEN_HALF = {
    "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": False,
}  # fmt: skip
METADATA: dict[str, Any] = {
    "general.architecture": "llama", "general.file_type": 15, "llama.block_count": 2, "llama.embedding_length": 256,
    "llama.attention.head_count": 8, "llama.attention.head_count_kv": 2, "llama.feed_forward_length": 768,
    "llama.context_length": 512,
}  # fmt: skip


def header(tensors: list[tuple[str, tuple[int, ...], str]] | None = None, **metadata: Any) -> GGUFHeader:
    given_ = tensors or [("token_embd.weight", (256, 1000), "Q6_K"), ("blk.0.attn_q.weight", (256, 256), "Q4_K")]
    made = tuple(Tensor(name=name, shape=shape, type=type_) for name, shape, type_ in given_)
    return GGUFHeader(version=3, metadata={**METADATA, **metadata}, tensors=made, file_bytes=300_000)


def streamed(shape: ModelShape) -> float:
    return sum(tensor.bytes for tensor in shape.streamed) / 1e6


def test_a_configuration_has_the_size_that_was_published() -> None:
    shape = from_config(LLAMA_1B, "llama")
    assert streamed(shape) == pytest.approx(2471.8, rel=0.001)
    assert streamed(shape.quantised("Q4_K_M")) == pytest.approx(799.9, rel=0.001)
    assert streamed(shape.quantised("Q4_0")) == pytest.approx(763.1, rel=0.001)
    assert streamed(shape.quantised("Q8_0")) == pytest.approx(1313.3, rel=0.001)
    assert shape.kv_per_token * 2 == 32768


def test_a_head_that_is_also_the_embedding_streams_once_and_an_embedding_alone_never() -> None:
    tied, untied = from_config(LLAMA_1B, "x"), from_config({**LLAMA_1B, "tie_word_embeddings": False}, "x")
    assert (tied.tied, untied.tied) == (True, False)
    assert streamed(tied) == streamed(untied)
    assert untied.file_bytes - tied.file_bytes == 2048 * 128256 * 2


def test_rows_that_do_not_divide_by_256_are_larger_than_their_name_says() -> None:
    shape = from_config(QWEN_HALF, "qwen").quantised("Q4_K_S")
    assert {tensor.type for tensor in shape.tensors if tensor.shape[0] == 896} == {"Q5_0", "Q5_1", "Q8_0"}
    assert {tensor.type for tensor in shape.tensors if tensor.shape[0] == 4864} == {"Q4_K", "Q5_K"}
    assert streamed(shape) == pytest.approx(379.5, rel=0.005)


def test_a_header_gives_layers_caches_and_the_quantisation() -> None:
    shape = from_header(header(), "x.gguf")
    assert (shape.quant, shape.layers, shape.heads, shape.head_size, shape.context) == ("Q4_K_M", 2, 8, 32, 512)
    assert shape.kv_per_token == 2 * 2 * 64
    assert shape.vocabulary == 1000
    assert from_header(header(**{"general.file_type": 999}), "x").quant == "Q6_K", "the type of most weights"


def test_heads_may_differ_by_layer() -> None:
    shape = from_header(header(**{"llama.attention.head_count_kv": (2, 0)}), "x")
    assert shape.kv_per_token == 2 * 64
    odd = from_header(header(**{"llama.attention.head_count_kv": (float("inf"), float("nan"))}), "x")
    assert odd.kv_per_token == 0


def test_only_the_experts_that_a_token_uses_are_streamed() -> None:
    tensors = [("token_embd.weight", (256, 10), "F16"), ("blk.0.ffn_up_exps.weight", (256, 256, 8), "F16")]
    shape = from_header(header(tensors, **{"llama.expert_count": 8, "llama.expert_used_count": 2}), "x")
    assert [shape.used(tensor) for tensor in shape.tensors] == [1.0, 0.25]


def test_norms_biases_and_routers_keep_their_type_when_quantised() -> None:
    tensors = [
        ("token_embd.weight", (256, 10), "F16"), ("blk.0.attn_norm.weight", (256,), "F32"),
        ("blk.0.attn_q.bias", (256,), "F32"),
        ("blk.0.ffn_gate_inp.weight", (256, 8), "F32"), ("blk.0.attn_k.weight", (256, 64), "F16"),
    ]  # fmt: skip
    types = {one.name: one.type for one in from_header(header(tensors), "x").quantised("Q4_0").tensors}
    assert list(types.values()) == ["Q6_K", "F32", "F32", "F32", "Q4_0"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (header(**{"general.architecture": 3}), "holds no model"),
        (GGUFHeader(version=3, metadata=METADATA, tensors=(), file_bytes=9), "vocabulary only"),
        (header(**{"llama.block_count": "many"}), "llama.block_count is 'many'"),
        (header(**{"llama.block_count": 10**6}), "not a sensible number"),
        (header(**{"llama.embedding_length": True}), "not a sensible number"),
        (header(**{"split.count": 3}), "one part of a split model"),
    ],
)
def test_a_header_without_sense_is_refused(said: GGUFHeader, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        from_header(said, "x.gguf")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"model_type": "bert"}, "model type 'bert' is not known"),
        ({"num_local_experts": 8}, "with experts"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"num_hidden_layers": -3}, "num_hidden_layers is -3"),
        ({"vocab_size": 1e5}, "vocab_size is 100000.0"),
    ],
)
def test_a_configuration_whose_size_is_not_known_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        from_config({**LLAMA_1B, **changed}, "x")


def test_folders_configurations_and_checkpoints_are_all_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_1B))
    shapes = [shape_of(tmp_path), shape_of(str(tmp_path / "config.json")), shape_of(Checkpoint(path=tmp_path, name="student"))]
    assert shapes[0] == shapes[1]
    assert (shapes[0].name, shapes[2].name) == (tmp_path.name, "student")


def test_a_configuration_of_another_name_is_called_by_it(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(json.dumps(LLAMA_1B))
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_1B))
    assert shape_of(tmp_path / "small.json").name == "small"
    assert shape_of(tmp_path / "config.json").name == tmp_path.name


@pytest.mark.parametrize("said", ["", "[]", "{", "[" * 100_000, '"x"', "\xff"])
def test_an_unreadable_configuration_is_refused(tmp_path: Path, said: str) -> None:
    (tmp_path / "config.json").write_bytes(said.encode("latin-1"))
    with pytest.raises((DataError, UnsafeError)):
        shape_of(tmp_path)
    with pytest.raises(DataError, match="is not a file"):
        shape_of(tmp_path / "nothing")


def test_an_unknown_quantisation_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean"):
        from_config(LLAMA_1B, "x").quantised("Q4_KM")


KEYS = st.sampled_from([*METADATA, "llama.attention.key_length", "llama.expert_count"])
VALUES = st.one_of(st.integers(-5, 2**64), st.floats(), st.text(max_size=3), st.lists(st.floats(), max_size=3).map(tuple))


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES))
def test_no_metadata_crashes(metadata: dict[str, Any]) -> None:
    try:
        shape = from_header(header(**metadata), "x")
    except DataError:
        return
    assert shape.kv_per_token >= 0
    assert shape.layers > 0


def test_single_tensors_may_have_another_type() -> None:
    shape = from_header(header(), "m.gguf")
    other = shape.with_types({"token_embd.weight": "Q4_0"})
    assert {one.name: one.type for one in other.tensors} == {"token_embd.weight": "Q4_0", "blk.0.attn_q.weight": "Q4_K"}
    assert shape.file_bytes - other.file_bytes == 1000 * (210 - 8 * 18)
    assert shape.with_types({}) == shape


@pytest.mark.parametrize(
    ("types", "said"),
    [
        ({"token_embed.weight": "Q4_0"}, "Did you mean 'token_embd.weight'"),
        ({"token_embd.weight": "Q4_9"}, "is no storage type"),
    ],
)
def test_a_tensor_or_type_that_is_not_there_is_refused(types: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        from_header(header(), "m.gguf").with_types(types)
