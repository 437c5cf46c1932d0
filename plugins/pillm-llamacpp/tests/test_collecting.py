"""What passes through a matrix product is summed per column, and per expert where each row goes to some of them."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from llama_cpp._ggml import libggml
from pillm_llamacpp.measuring.collecting import Collector
from pillm_llamacpp.measuring.tensors import F32, I32, Tensor, array, operations, weight_name
from pillm_llamacpp.quantizing.imatrix import gather
from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp_tiny import TEMPLATE, conversations, train_tokenizer

import pillm


def host_tensor(values: np.ndarray, name: str = "", *, op: int = 0, sources: tuple[Tensor, ...] = ()) -> Tensor:
    """Return a tensor of ggml that lies in this array's memory."""
    make = libggml.ggml_backend_cpu_buffer_from_ptr
    make.restype, make.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t)
    memory = ctypes.create_string_buffer(values.nbytes + 64)
    start = ctypes.addressof(memory) + (-ctypes.addressof(memory)) % 64  # ggml wants its memory aligned
    ctypes.memmove(start, values.ctypes.data, values.nbytes)
    shape = (*values.shape[::-1], *[1] * (4 - values.ndim))
    steps = (*values.strides[::-1], *[values.nbytes] * (4 - values.ndim))
    tensor = Tensor(type=F32 if values.dtype == np.float32 else I32, op=op, name=name.encode(), data=start)
    tensor.buffer = make(start, values.nbytes)
    tensor.ne[:], tensor.nb[:] = shape, steps
    for place, source in enumerate(sources):
        tensor.src[place] = ctypes.pointer(source)
    tensor.memory = memory
    return tensor


def seen(collector: Collector, tensor: Tensor) -> bool:
    """Show a tensor to the collector as llama.cpp does; return whether it wanted it."""
    place = ctypes.addressof(tensor)
    wanted = collector.watch(place, True, None)
    if wanted:
        collector.watch(place, False, None)
    return bool(wanted)


def weight(*shape: int, name: str = "blk.0.ffn_up.weight") -> Tensor:
    return host_tensor(np.zeros(shape, np.float32), name)


def test_tensors_are_laid_out_as_the_installed_library_says() -> None:
    assert operations().keys() == {"MUL_MAT", "MUL_MAT_ID"}
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert np.array_equal(array(host_tensor(values))[0], values)


def test_a_copy_on_another_device_goes_by_the_weights_name() -> None:
    names = ("CUDA0#blk.0.attn_k.weight#0", "blk.0.attn_k.weight", "a#b")
    assert [weight_name(Tensor(name=name.encode())) for name in names] == ["blk.0.attn_k.weight"] * 2 + ["b"]


def test_only_the_layers_products_are_wanted_and_the_head_on_demand() -> None:
    product = operations()["MUL_MAT"]
    rows = host_tensor(np.ones((3, 4), np.float32))
    for head in (False, True):
        collector = Collector(head=head)
        wanted = {
            name: seen(collector, host_tensor(np.zeros(1, np.float32), op=product, sources=(weight(2, 4, name=name), rows)))
            for name in ("blk.0.attn_q.weight", "output.weight", "token_embd.weight", "k-0 (view)")
        }
        assert wanted == {
            "blk.0.attn_q.weight": True, "output.weight": head, "token_embd.weight": head, "k-0 (view)": False,
        }  # fmt: skip
    half = host_tensor(np.ones((3, 4), np.int32))
    assert not seen(collector, host_tensor(np.zeros(1, np.float32), op=product, sources=(weight(2, 4), half)))
    assert not seen(collector, host_tensor(np.zeros(1, np.float32), op=product + 5, sources=(weight(2, 4), rows)))


def test_rows_are_summed_over_all_products() -> None:
    product, collector = operations()["MUL_MAT"], Collector(head=False)
    random = np.random.default_rng(1)
    first, second = (random.standard_normal((rows, 4)).astype(np.float32) for rows in (3, 5))
    for values in (first, second):
        right = host_tensor(values)
        for name in ("blk.0.attn_q.weight", "blk.0.attn_k.weight"):
            seen(collector, host_tensor(np.zeros(1, np.float32), op=product, sources=(weight(2, 4, name=name), right)))
        collector.forget()
    expected = np.square(np.concatenate([first, second]), dtype=np.float64).sum(axis=0)
    for name in ("blk.0.attn_q.weight", "blk.0.attn_k.weight"):
        assert np.allclose(collector.sums[name], expected)
        assert collector.counts[name].tolist() == [8]


def test_a_weight_of_several_matrices_has_sums_for_each() -> None:
    product, collector = operations()["MUL_MAT"], Collector(head=False)
    values = np.random.default_rng(2).standard_normal((2, 3, 4)).astype(np.float32)
    seen(collector, host_tensor(np.zeros(1, np.float32), op=product, sources=(weight(2, 5, 4), host_tensor(values))))
    assert np.allclose(collector.sums["blk.0.ffn_up.weight"], np.square(values).sum(axis=1))
    assert collector.counts["blk.0.ffn_up.weight"].tolist() == [3]


@pytest.mark.parametrize("width", [1, 2])
def test_each_expert_is_given_the_rows_that_chose_it(width: int) -> None:
    routed, collector = operations()["MUL_MAT_ID"], Collector(head=False)
    chosen = np.array([[0, 2], [2, 1], [2, 0]], np.int32)
    values = np.random.default_rng(3).standard_normal((3, width, 4)).astype(np.float32)
    sources = (weight(4, 5, 4), host_tensor(values), host_tensor(chosen))
    seen(collector, host_tensor(np.zeros(1, np.float32), op=routed, sources=sources))
    expected = np.zeros((4, 4))
    for token, slots in enumerate(chosen):
        for slot, expert in enumerate(slots):
            expected[expert] += np.square(values[token, slot % width])
    assert np.allclose(collector.sums["blk.0.ffn_up.weight"], expected)
    assert collector.counts["blk.0.ffn_up.weight"].tolist() == [2, 1, 3, 0]


def test_what_is_not_finite_stops_the_decode_and_is_told() -> None:
    product, collector = operations()["MUL_MAT"], Collector(head=False)
    sources = (weight(2, 4), host_tensor(np.full((3, 4), np.inf, np.float32)))
    tensor = host_tensor(np.zeros(1, np.float32), op=product, sources=sources)
    assert collector.watch(ctypes.addressof(tensor), True, None)
    assert not collector.watch(ctypes.addressof(tensor), False, None)
    assert isinstance(collector.error, Refusal)
    assert "blk.0.ffn_up.weight are not finite" in str(collector.error)


@pytest.mark.full
def test_the_experts_of_a_mixture_share_what_their_router_saw(tmp_path: Path) -> None:
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(1)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=train_tokenizer(), eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = TEMPLATE
    config = MixtralConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=256, eos_token_id=2,
        bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    MixtralForCausalLM(config).save_pretrained(tmp_path / "mixture")
    tokenizer.save_pretrained(tmp_path / "mixture")
    checkpoint = pillm.Checkpoint(path=tmp_path / "mixture")
    (model,) = pillm.exporter("gguf", quants=["F16"]).export(checkpoint, tmp_path / "out", pillm.Progress())
    found = gather(model.path, conversations(), threads=1, progress=pillm.Progress())
    tokens = found.counts["blk.1.attn_q.weight"].item()
    for layer in (0, 1):
        router = found.tensors[f"blk.{layer}.ffn_gate_inp.weight"]
        assert found.counts[f"blk.{layer}.ffn_gate_exps.weight"].sum() == 2 * tokens
        assert found.tensors[f"blk.{layer}.ffn_gate_exps.weight"].shape == (4, 64)
        assert np.allclose(found.tensors[f"blk.{layer}.ffn_gate_exps.weight"].sum(axis=0), 2 * router, rtol=1e-3)
