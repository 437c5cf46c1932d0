"""Students cut out of a base, and students from scratch: the weights are the right ones, and the model runs with a cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from pillm_hf.models.loading import load_config, load_model
from pillm_hf.shrinking import cutting as shrinking
from pillm_hf.shrinking import shapes

import pillm

SMALL: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "bos_token_id": None, "eos_token_id": 2,
    "pad_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip
KINDS: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaConfig(**SMALL, tie_word_embeddings=True),
    "llama-untied": lambda: hf.LlamaConfig(**SMALL, tie_word_embeddings=False),
    "qwen2-sliding": lambda: hf.Qwen2Config(
        **{name: value for name, value in SMALL.items() if name != "head_dim"},
        use_sliding_window=True, sliding_window=4, max_window_layers=3, tie_word_embeddings=True,
    ),
    "qwen3": lambda: hf.Qwen3Config(**SMALL, tie_word_embeddings=False),
    "gemma3": lambda: hf.Gemma3TextConfig(**SMALL, sliding_window=4),
    "smollm3": lambda: hf.SmolLM3Config(**SMALL),
    "gpt2": lambda: hf.GPT2Config(vocab_size=96, n_embd=32, n_layer=6, n_head=4, n_positions=64, eos_token_id=2),
}  # fmt: skip


def save(config: Any, folder: Path) -> Path:
    torch.manual_seed(1)
    kind = {"gpt2": hf.GPT2LMHeadModel, "gemma3_text": hf.Gemma3ForCausalLM}.get(config.model_type, hf.AutoModelForCausalLM)
    model = kind(config) if kind is not hf.AutoModelForCausalLM else kind.from_config(config)
    model.save_pretrained(folder)
    return folder


def cut(folder: Path, layers: list[int], tokens: list[int] | None) -> Any:
    before = load_config(folder)
    shape = shapes.with_layers(before.to_dict(), layers)
    return shrinking.cut(
        folder, shrinking.configured(before, {**shape, "vocab_size": len(tokens or range(96))}), layers, tokens
    )


def without(model: Any, layers: list[int]) -> Any:
    """Return a model whose other layers pass on what they are given."""
    stack = model.model.layers if hasattr(model, "model") else model.transformer.h
    for index, layer in enumerate(stack):
        if index not in layers:
            layer.forward = lambda hidden, *_, **__: hidden
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_model_is_the_base_without_those_layers_and_tokens(kind: str, tmp_path: Path) -> None:
    folder = save(KINDS[kind](), tmp_path / "base")
    layers, tokens = [0, 2, 5], list(range(0, 96, 3))
    cut(folder, layers, tokens).save_pretrained(tmp_path / "cut")
    student = load_model(tmp_path / "cut", torch.float32)
    base = without(load_model(folder, torch.float32), layers)
    new = torch.randint(0, len(tokens), (2, 11), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = base(input_ids=torch.tensor(tokens)[new], use_cache=False).logits[..., tokens]
        got = student(input_ids=new, use_cache=False).logits
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_model_reads_on_with_its_cache_as_it_reads_at_once(kind: str, tmp_path: Path) -> None:
    folder = save(KINDS[kind](), tmp_path / "base")
    cut(folder, [1, 2, 4, 5], None).save_pretrained(tmp_path / "cut")
    student = load_model(tmp_path / "cut", torch.float32)
    ids = torch.arange(3, 15)[None]
    with torch.inference_mode():
        whole = student(input_ids=ids, use_cache=False).logits[:, -1]
        state = student(input_ids=ids[:, :8], use_cache=True).past_key_values
        for place in range(8, 12):
            step = student(input_ids=ids[:, place : place + 1], past_key_values=state, use_cache=True)
    torch.testing.assert_close(step.logits[:, -1], whole, rtol=1e-4, atol=1e-4)
    assert len(state.layers) == 4


@pytest.mark.parametrize("kind", ["llama", "llama-untied"])
def test_a_tied_head_stays_tied_and_an_untied_one_untied(kind: str, tmp_path: Path) -> None:
    cut(save(KINDS[kind](), tmp_path / "base"), [0, 5], [2, 3]).save_pretrained(tmp_path / "cut")
    student = load_model(tmp_path / "cut", torch.float32)
    tied = student.get_input_embeddings().weight is student.get_output_embeddings().weight
    assert tied == (kind == "llama")
    assert student.get_output_embeddings().weight.shape == (2, 32)


def test_layers_out_of_the_architectures_pattern_are_recognised(tmp_path: Path) -> None:
    for kind, regular in {"llama": True, "gpt2": True, "gemma3": False, "smollm3": False}.items():
        before = KINDS[kind]()
        cut = shrinking.configured(before, shapes.with_layers(before.to_dict(), [0, 3, 4, 5]))
        assert shrinking.is_regular(before)
        assert shrinking.is_regular(cut) == regular


def test_a_token_that_the_tables_have_no_row_for_is_refused(tmp_path: Path) -> None:
    folder = save(KINDS["llama"](), tmp_path / "base")
    with pytest.raises(pillm.DataError, match=r"a token 96, but model\.embed_tokens\.weight has 96 rows"):
        cut(folder, [0], [0, 96])


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_from_scratch_is_drawn_by_its_seed(kind: str) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (
        torch.cat([weight.flatten() for weight in shrinking.from_scratch(KINDS[kind](), seed).parameters()])
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_sizes_that_the_class_refuses_are_refused_in_a_sentence() -> None:
    before = KINDS["llama"]()
    for wrong in ({"hidden_size": "wide"}, {"num_attention_heads": 5}):
        with pytest.raises(pillm.ConfigError, match=r"config: the sizes do not fit together \(.+\)\. Nothing was trained"):
            shrinking.configured(before, {**before.to_dict(), **wrong})
    with pytest.raises(pillm.ConfigError, match="config: the sizes do not fit together"):
        shrinking.from_scratch(hf.LlamaConfig(**SMALL | {"num_key_value_heads": 3}), 0)
