"""Slots: every architecture answers in them as it does alone, or is told apart and answered in whole batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_hf.answering.choosing import Sampling
from pillm_hf.answering.decoding import Decoder
from pillm_hf.answering.padded import Padded
from pillm_hf.answering.probing import slot_shape, token_bytes
from pillm_hf.answering.sequences import Batch, Sequence
from pillm_hf.answering.slots import Slots

VOCABULARY = 96
STOP = 2
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "initializer_range": 0.3, "bos_token_id": None,
    "eos_token_id": STOP, "pad_token_id": 0,
}  # fmt: skip
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.3,
        "bos_token_id": None, "eos_token_id": STOP, "pad_token_id": 0}  # fmt: skip
SLIDING = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"] * 2}
IN_SLOTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", SHAPE),
    "qwen2": ("Qwen2", SHAPE),
    "qwen2-sliding": ("Qwen2", {**SHAPE, **SLIDING, "use_sliding_window": True}),
    "qwen3": ("Qwen3", SHAPE),
    "mistral-sliding": ("Mistral", {**SHAPE, "sliding_window": 6}),
    "gemma2": ("Gemma2", {**SHAPE, **SLIDING, "query_pre_attn_scalar": 8}),
    "gemma3": ("Gemma3", {**SHAPE, **SLIDING, "query_pre_attn_scalar": 8}),
    "gpt2": ("GPT2", GPT2),
    "phi3": ("Phi3", SHAPE),
    "granite": ("Granite", {**SHAPE, "logits_scaling": 4.0}),
}
IN_BATCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": ("Bloom", {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3,
                        "bos_token_id": None, "eos_token_id": STOP, "pad_token_id": 0}),
    "lfm2": ("Lfm2", {**SHAPE, "layer_types": ["conv", "full_attention"] * 2, "conv_L_cache": 3}),
}  # fmt: skip


@cache
def model(kind: str) -> Any:
    name, options = {**IN_SLOTS, **IN_BATCHES}[kind]
    config = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name}Config")(**options)
    torch.manual_seed(1)
    made = getattr(transformers, "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")(config).eval()
    made.generation_config.eos_token_id, made.generation_config.pad_token_id = STOP, 0
    return made


def prompts_of(count: int, seed: int = 0, shared: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    start = [draw.randrange(3, VOCABULARY) for _ in range(shared)]
    return [start + [draw.randrange(3, VOCABULARY) for _ in range(draw.randint(1, 24))] for _ in range(count)]


def feeder(rows: list[Sequence]) -> Callable[[int], list[Sequence] | None]:
    waiting: Iterator[Sequence] = iter(rows)

    def feed(count: int) -> list[Sequence] | None:
        return [row for _, row in zip(range(count), waiting, strict=False)] or None

    return feed


def decoded(batch: Batch, rows: list[Sequence], width: int, **sampling: Any) -> list[list[int]]:
    decoder = Decoder(batch, stop_ids=frozenset({STOP}), sampling=Sampling(**sampling), width=width)
    done = [row for some in decoder.run(feeder(rows)) for row in some]
    assert len(done) == len({id(row) for row in done}) == len(rows)
    return [row.token_ids for row in rows]


def alone(kind: str, prompt: list[int], limit: int) -> list[int]:
    ids = torch.tensor([prompt])
    made = model(kind).generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False)
    return made[0, len(prompt) :].tolist()


def slots(kind: str, most: int | None = None) -> Slots:
    shape = slot_shape(model(kind))
    assert shape is not None, kind
    return Slots(model(kind), shape, most)


@pytest.mark.parametrize("kind", IN_SLOTS)
def test_rows_that_come_and_go_are_answered_as_each_of_them_alone(kind: str) -> None:
    prompts = prompts_of(14, shared=9)
    rows = [Sequence(prompt, 3 + index % 12, prefix=prompt[: 9 * (index % 3 > 0)]) for index, prompt in enumerate(prompts)]
    expected = [alone(kind, row.prompt_ids, row.limit) for row in rows]
    assert decoded(slots(kind), rows, 4) == expected


@pytest.mark.parametrize("kind", IN_BATCHES)
def test_models_whose_caches_have_no_slots_are_answered_in_whole_batches(kind: str) -> None:
    assert slot_shape(model(kind)) is None
    rows = [Sequence(prompt, 3 + index) for index, prompt in enumerate(sorted(prompts_of(7), key=len))]
    expected = [alone(kind, row.prompt_ids, row.limit) for row in rows]
    assert decoded(Padded(model(kind), 0), rows, 3) == expected


def test_slots_that_do_not_answer_as_the_model_does_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = Slots._mask

    def blind(self: Slots, places: torch.Tensor, width: int) -> Any:
        return mask(self, places + 1, width)  # a column too many

    monkeypatch.setattr(Slots, "_mask", blind)
    assert slot_shape(model("llama")) is None


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_neither_width_nor_order_nor_prefix_changes_an_answer(data: st.DataObject) -> None:
    prompts = prompts_of(9, seed=data.draw(st.integers(0, 99)), shared=5)
    limits = data.draw(st.lists(st.integers(1, 9), min_size=9, max_size=9))
    expected = [alone("llama", prompt, limit) for prompt, limit in zip(prompts, limits, strict=True)]
    order = data.draw(st.permutations(range(9)))
    shared = [data.draw(st.integers(0, 5)) for _ in range(9)]
    rows = {index: Sequence(prompts[index], limits[index], prefix=prompts[0][: shared[index]]) for index in order}
    decoded(slots("llama"), list(rows.values()), data.draw(st.integers(1, 10)))
    assert [rows[index].token_ids for index in range(9)] == expected


def test_a_slot_is_refilled_as_soon_as_its_row_is_done() -> None:
    steps = []

    class Counted(Slots):
        def step(self) -> torch.Tensor:
            steps.append(len(self.rows))
            return super().step()

    limits = [2] * 12 + [14]  # whole batches would take 14 + 3 * 2 steps, or more
    shape = slot_shape(model("llama"))
    assert shape
    rows = [Sequence([5, 7, 11 + index], limit) for index, limit in enumerate(reversed(limits))]
    decoder = Decoder(Counted(model("llama"), shape), stop_ids=frozenset(), sampling=Sampling(), width=4)
    assert sum(len(done) for done in decoder.run(feeder(rows))) == 13
    assert len(steps) == 14
    assert sum(steps) == sum(limits)


def test_a_shared_prefix_is_read_once() -> None:
    read = []

    class Counted(Slots):
        def _pass(self, first: int, rest: list[list[int]], start: int) -> None:
            read.append(sum(map(len, rest)))
            super()._pass(first, rest, start)

    shape = slot_shape(model("llama"))
    assert shape
    prompts = prompts_of(12, shared=40)
    rows = [Sequence(prompt, 2, prefix=prompt[:40]) for prompt in prompts]
    got = decoded(Counted(model("llama"), shape), rows, 4)
    assert sum(read) == 40 + sum(len(prompt) - 41 for prompt in prompts)
    assert got == [alone("llama", prompt, 2) for prompt in prompts]


@pytest.mark.parametrize("most", [40, 90, 200])
def test_the_cache_never_holds_more_tokens_than_it_may(most: int, caplog: pytest.LogCaptureFixture) -> None:
    held = []

    class Watched(Slots):
        def step(self) -> torch.Tensor:
            found = super().step()
            sizes = {layer.keys.shape[0] * layer.keys.shape[2] for layer in self.cache.layers}
            held.append(max(sizes))
            return found

    shape = slot_shape(model("llama"))
    assert shape
    rows = [Sequence(prompt, 12) for prompt in prompts_of(16)]
    expected = [alone("llama", row.prompt_ids, row.limit) for row in rows]
    assert decoded(Watched(model("llama"), shape, most), rows, 8) == expected
    assert max(held) <= most
    assert "kv_memory holds the cache of" in caplog.text
    assert caplog.text.count("kv_memory") == 2  # one line, which names the option twice


def test_a_row_that_the_cache_cannot_hold_alone_fails_alone() -> None:
    rows = [Sequence(list(range(3, 3 + size)), 4) for size in (5, 30, 6)]
    decoded(slots("llama", most=20), rows, 2)
    assert [row.finish_reason for row in rows if not row.token_ids] == ["kv_memory"]
    assert not rows[1].token_ids


def test_the_bytes_of_a_token_are_those_of_all_layers() -> None:
    assert token_bytes(model("llama")) == 4 * 2 * 2 * 8 * 4  # layers, keys and values, heads, head size, float32
    assert token_bytes(model("gpt2")) == 2 * 2 * 32 * 4
