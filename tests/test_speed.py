"""The model of speed: its arithmetic, and what it says of depth, prompts and saved prefixes."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillm.devices import device
from pillm.devices.shapes import from_config
from pillm.devices.speed import (
    KV_PAD,
    answer_seconds,
    decode_seconds,
    decode_speed,
    first_token_seconds,
    interval,
    load_of,
    prefill_seconds,
    prefill_speed,
    well_known,
)
from tests.benchmarks.planning.rows import MODELS

PI4 = device("pi4-4gb")
LLAMA = from_config(MODELS["Llama-3.2-1B"], "Llama").quantised("Q4_K_M")
LOAD = load_of(LLAMA)


def test_decode_waits_for_memory_and_pays_for_layers() -> None:
    memory = (sum(LOAD.bytes.values()) + KV_PAD * LOAD.kv_bytes) / (3.65e9)
    found = decode_seconds(LOAD, PI4) or 0.0
    assert memory + 16 * 0.2095e-3 <= found <= 1.02 * memory + 16 * 0.2095e-3


def test_a_type_that_cores_unpack_slowly_waits_for_them() -> None:
    slow = from_config(MODELS["Llama-3.2-1B"], "Llama").quantised("IQ3_S")
    assert slow.file_bytes < LLAMA.file_bytes
    assert (decode_speed(slow, PI4) or 0) < (decode_speed(LLAMA, PI4) or 0)


def test_a_slow_type_whose_cycles_nobody_measured_has_no_speed() -> None:
    assert decode_speed(from_config(MODELS["Llama-3.2-1B"], "Llama").quantised("IQ3_S"), device("pi5-8gb")) is None
    assert decode_speed(LLAMA, replace(PI4, bandwidth_gbps=None)) is None
    assert prefill_speed(LLAMA, replace(PI4, ghz=None)) is None


def test_deeper_tokens_take_longer_in_steps_of_256() -> None:
    times = [decode_seconds(LOAD, PI4, depth) or 0 for depth in (1, 256, 257, 512, 2048)]
    assert times[0] == times[1] < times[2] == times[3] < times[4]


def test_prefill_is_linear_but_for_the_attention_of_later_batches() -> None:
    once, twice = (prefill_seconds(LOAD, PI4, tokens, batch=128) or 0 for tokens in (256, 512))
    assert 2 * once < twice < 2.2 * once
    alone = replace(PI4, attention_cycles=0.0)
    assert (prefill_seconds(LOAD, alone, 512) or 0) == pytest.approx(2 * (prefill_seconds(LOAD, alone, 256) or 0))
    assert 512 / (prefill_seconds(LOAD, PI4, 512) or 1) == pytest.approx(prefill_speed(LLAMA, PI4))


def test_a_saved_prefix_saves_its_prefill_and_costs_its_reading() -> None:
    cold = first_token_seconds(LOAD, PI4, 600) or 0
    saved = first_token_seconds(LOAD, PI4, 600, saved=512) or 0
    assert saved < cold / 4
    read = 512 * LOAD.kv_bytes / 45e6
    assert saved - (first_token_seconds(LOAD, replace(PI4, disk_mbps=None), 600, saved=512) or 0) == pytest.approx(read)
    assert (answer_seconds(LOAD, PI4, 600, 1) or 0) == pytest.approx(cold)
    assert (answer_seconds(LOAD, PI4, 600, 51) or 0) == pytest.approx(cold + 50 * (decode_seconds(LOAD, PI4, 625) or 0))


@given(prompt=st.integers(1, 4000), answer=st.integers(1, 1000), saved=st.integers(0, 5000))
def test_times_are_positive_and_grow_with_the_answer(prompt: int, answer: int, saved: int) -> None:
    first = first_token_seconds(LOAD, PI4, prompt, saved=saved) or 0
    assert 0 < first <= (answer_seconds(LOAD, PI4, prompt, answer, saved=saved) or 0)


def test_intervals_are_known_only_where_every_type_was_measured() -> None:
    assert interval(10.0, 0.25) == (8.0, 12.5)
    assert interval(None, 0.1) is interval(10.0, None) is None
    assert well_known(LOAD, PI4, "cycles")
    guessed = load_of(from_config(MODELS["Llama-3.2-1B"], "Llama").quantised("Q2_K"))
    assert not well_known(guessed, PI4, "cycles"), "Q2_K has an estimate alone"
    assert not well_known(guessed, PI4, "decode_cycles")


def test_a_token_uses_a_part_of_the_experts() -> None:
    tensors = tuple(replace(one, name=one.name.replace("ffn_up", "ffn_up_exps")) for one in LLAMA.tensors)
    mixed = load_of(replace(LLAMA, tensors=tensors, expert_share=0.25))
    assert sum(mixed.weights.values()) < sum(LOAD.weights.values())
    assert mixed.head_bytes == LOAD.head_bytes


def test_nothing_computed_takes_no_time() -> None:
    still = replace(PI4, cycles=MappingProxyType({}), decode_factor=0.0)
    assert (decode_seconds(LOAD, still) or 0) == pytest.approx(
        (sum(LOAD.bytes.values()) + KV_PAD * LOAD.kv_bytes) / 3.65e9 + 16 * 0.2095e-3
    )
