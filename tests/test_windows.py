"""Which layers look back over a window only, as llama.cpp reads it, and what that saves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillm.devices import device
from pillm.devices.memory import cache_bytes
from pillm.devices.planner import plan
from pillm.devices.shapes import from_config, from_header
from pillm.devices.speed import decode_seconds, load_of
from pillm.devices.windows import Windows, windows_of_config, windows_of_file
from tests.benchmarks.planning.rows import MODELS
from tests.test_shapes import header

GEMMA = {**MODELS["Gemma-3-1B-it"], "sliding_window": 512, "sliding_window_pattern": 6, "max_position_embeddings": 32768}
SIXTH = tuple(layer % 6 != 5 for layer in range(26))


def test_a_gemma_keeps_the_window_in_all_but_every_sixth_layer() -> None:
    assert windows_of_config(GEMMA, 26) == Windows(512, SIXTH)
    shape = from_config(GEMMA, "Gemma").quantised("Q4_0")
    board = device("pi4-2gb")
    # four layers of 2 * 256 numbers at 32,768 tokens, twenty-two at the window and a batch of 128, in steps of 256
    assert cache_bytes(shape, board, 32768) == (4 * 32768 + 22 * 768) * 512 * 2
    assert cache_bytes(shape, board, 300) == 26 * 512 * 512 * 2, "a window cannot be longer than the context"
    whole = board.with_whole_windows()
    assert cache_bytes(shape, whole, 32768) == 26 * 32768 * 512 * 2
    found, kept = (plan(GEMMA, one, quant="Q4_0", context=32768) for one in (board, whole))
    assert (found.fits, kept.fits) == (True, False)
    assert found.memory["kv_cache"] < 160e6 < 870e6 < kept.memory["kv_cache"]


def test_what_runs_here_keeps_every_token() -> None:
    assert device("generic-x86").swa_full
    assert device("generic-arm64").swa_full
    assert not device("pi5-8gb").swa_full


def test_deep_in_a_context_windowed_layers_are_no_slower() -> None:
    board = device("pi4-4gb")
    near, far = (load_of(from_config(said, "x").quantised("Q4_0")) for said in (GEMMA, MODELS["Gemma-3-1B-it"]))
    assert decode_seconds(near, board, 256) == decode_seconds(far, board, 256)
    cut, whole = (decode_seconds(one, board, 16384) or 0 for one in (near, far))
    assert cut < whole
    assert decode_seconds(near, board.with_whole_windows(), 16384) == pytest.approx(whole)


@pytest.mark.parametrize(
    ("arch", "said", "layers", "found"),
    [
        ("gemma2", {}, 4, Windows(4096, (True, False, True, False))),
        ("gemma3", {"sliding_window": 512}, 26, Windows(512, SIXTH)),
        ("gemma3", {}, 4, Windows(0, (False,) * 4)),
        ("gemma3", {"sliding_window": 512, "sliding_window_pattern": 2}, 3, Windows(512, (True, False, True))),
        ("olmo2", {"sliding_window": 8, "sliding_window_pattern": (True, False)}, 2, Windows(8, (True, False))),
        ("gemma4", {"sliding_window": 8, "sliding_window_pattern": (1, 0)}, 2, Windows(8, (True, False))),
        ("gemma4", {"sliding_window": 8}, 2, Windows(0, (False, False))),
        ("phi3", {"sliding_window": 2047}, 2, Windows(0, (False, False))),
        ("llama", {"sliding_window": 4096}, 2, Windows(0, (False, False))),
    ],
)
def test_a_file_is_read_as_llama_cpp_reads_it(arch: str, said: dict[str, Any], layers: int, found: Windows) -> None:
    assert windows_of_file({f"{arch}.attention.{key}": value for key, value in said.items()}, arch, layers) == found


def test_a_window_that_is_not_used_is_none() -> None:
    assert windows_of_config({**MODELS["Qwen3-0.6B"], "sliding_window": 4096}, 28).tokens == 0
    assert windows_of_config({**GEMMA, "sliding_window_pattern": 1}, 26).tokens == 0
    assert windows_of_config(MODELS["Gemma-3-1B-it"], 26).tokens == 0, "it does not say how long they are"


def test_heads_that_differ_by_layer_are_counted_by_layer() -> None:
    said = {key.replace("llama.", "gemma2."): value for key, value in header().metadata.items()}
    said |= {
        "general.architecture": "gemma2", "gemma2.block_count": 2, "gemma2.attention.head_count_kv": (4, 1),
        "gemma2.attention.key_length": 64, "gemma2.attention.value_length": 64,
    }  # fmt: skip
    shape = from_header(replace(header(), metadata=said), "x")
    assert (shape.window, shape.kv_per_token, shape.kv_windowed) == (4096, 5 * 128, 4 * 128)


ANY = st.none() | st.integers() | st.booleans() | st.text(max_size=3) | st.lists(st.booleans(), max_size=5).map(tuple)


@given(arch=st.sampled_from(["gemma3", "gemma4", "phi3"]), window=ANY, pattern=ANY, layers=st.integers(1, 5))
def test_whatever_a_file_says_each_layer_has_an_answer(arch: str, window: Any, pattern: Any, layers: int) -> None:
    said = {f"{arch}.attention.sliding_window": window, f"{arch}.attention.sliding_window_pattern": pattern}
    found = windows_of_file(said, arch, layers)
    assert len(found.layers) == layers
    assert found.tokens >= any(found.layers)
