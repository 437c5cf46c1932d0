"""What memory a model takes, by purpose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pillm.cli.cards import plan_lines
from pillm.devices import device
from pillm.devices.memory import fits, memory_needed, needed, reclaimable, roomy, serving_memory, size_text
from pillm.devices.planner import plan_shape
from pillm.devices.shapes import from_config
from tests.benchmarks.planning.rows import MODELS, config

LLAMA_8B = config("llama", 4096, 14336, 32, (32, 8, 128), 128256, max_position_embeddings=8192)
SHAPE, PROFILE = from_config(MODELS["Qwen3-0.6B"], "x").quantised("Q8_0"), device("pi4-4gb")


def test_memory_grows_with_context_and_the_batch_never_exceeds_it() -> None:
    short, long = memory_needed(SHAPE, PROFILE, 64), memory_needed(SHAPE, PROFILE, 2048)
    assert short["kv_cache"] == memory_needed(SHAPE, PROFILE, 256)["kv_cache"]
    assert 8 * short["kv_cache"] == long["kv_cache"] == 2048 * SHAPE.kv_per_token * 2
    assert short["compute"] < long["compute"]
    assert memory_needed(SHAPE, replace(PROFILE, ubatch=512), 64)["compute"] == short["compute"]


def test_weights_are_the_whole_file_and_everything_is_added_up() -> None:
    found = memory_needed(SHAPE, PROFILE, 1024)
    assert found["weights"] == SHAPE.file_bytes
    assert needed(SHAPE, PROFILE, 1024) == sum(size for purpose, size in found.items() if purpose != "available")
    assert found["available"] == PROFILE.ram_mib * 2**20


def test_weights_that_are_laid_out_anew_count_twice() -> None:
    assert memory_needed(SHAPE, PROFILE, 512)["repacked"] == 0
    board = device("pi5-4gb")
    copied = memory_needed(SHAPE, board, 512)["repacked"]
    assert copied == sum(one.bytes for one in SHAPE.streamed)
    assert needed(SHAPE, board, 512) - needed(SHAPE, board.without_repacking(), 512) == copied
    less = replace(board, ram_mib=2000)
    assert (roomy(SHAPE, less, 512), fits(SHAPE, less, 512)) == (False, True), "the pages that were copied are given back"
    assert roomy(SHAPE, less.without_repacking(), 512)
    assert fits(SHAPE, replace(board, ram_mib=1200), 512) is False
    assert reclaimable(SHAPE, less) == copied


def test_what_fits_only_where_pages_of_the_file_are_given_back_fits_tightly() -> None:
    shape = from_config(LLAMA_8B, "8B").quantised("Q4_K_M")
    board = device("pi5-8gb")
    found = plan_shape(shape, board)
    assert (found.fits, found.tight, found.room) == (True, True, "tight")
    assert found.reclaimable == found.memory["repacked"] > 4e9
    assert "tightly: " in found.verdict
    assert "GB are pages of the file whose weights are held in another order too: the system takes them back" in found.verdict
    assert "8B (Q4_K_M, 4,918 MB) on pi5-8gb: fits tightly" in plan_lines(found)[0]
    names = [one.what for one in found.alternatives]
    assert not any(one.tight for one in found.alternatives), "what is offered instead fits with room"
    assert any(one.startswith("--no-repack") for one in names)
    assert names[-2].startswith("--no-repack") or names[-1].startswith("--no-repack"), "it is slower: the last resort"
    plain, old = plan_shape(shape, board.without_repacking()), plan_shape(shape, device("pi4-8gb"))
    assert (plain.room, plain.reclaimable, old.room) == ("yes", 0, "yes"), "a Pi 4 has no dotprod: nothing is copied"
    less = plan_shape(shape, board.with_memory(5500))
    assert (less.fits, less.tight, less.room) == (False, False, "no")


@pytest.mark.parametrize(
    ("said", "quant"),
    [(MODELS["Phi-3.5-mini-instruct"], "Q8_0"), (config("llama", 4096, 11008, 32, (32, 32, 128), 32000), "Q4_K_M")],
    ids=["Phi-3.5-mini, which somebody ran there", "Llama-2-7B"],
)
def test_what_a_pi_5_of_8_gb_runs_is_not_refused(said: dict[str, Any], quant: str) -> None:
    found = plan_shape(from_config(said, "x").quantised(quant), device("pi5-8gb"))
    assert (found.fits, found.tight) == (True, True)


def test_a_server_keeps_the_same_with_a_copy_of_its_weights_as_without() -> None:
    plain, copied = (serving_memory(SHAPE, 512, flags=flags) for flags in ((), ("asimddp",)))
    assert sum(plain.values()) == sum(copied.values())
    assert plain["weights"] == SHAPE.file_bytes
    assert copied["buffers"] - plain["buffers"] == plain["weights"] - copied["weights"] > 0
    many = serving_memory(SHAPE, 512, parallel=3)
    assert many["kv_cache"] == 3 * plain["kv_cache"]


def test_a_server_may_keep_what_windows_held_before() -> None:
    said = {**MODELS["Gemma-3-1B-it"], "sliding_window": 512}
    near, far = (from_config(one, "Gemma") for one in (said, MODELS["Gemma-3-1B-it"]))
    cut, whole = serving_memory(near, 8192), serving_memory(far, 8192)
    assert cut["buffers"] - whole["buffers"] == 2 * 22 * 768 * 512 * 2, "two checkpoints of the window"
    assert sum(cut.values()) < sum(whole.values())


def test_a_vocabulary_takes_memory_of_its_own() -> None:
    smaller = SHAPE.with_vocabulary(SHAPE.vocabulary // 4)
    saved = memory_needed(SHAPE, PROFILE, 512)["runtime"] - memory_needed(smaller, PROFILE, 512)["runtime"]
    assert saved == 130 * (SHAPE.vocabulary - smaller.vocabulary)


@pytest.mark.parametrize(("size", "said"), [(999_949, "1.0 MB"), (12_345_678, "12.3 MB"), (1_234_567_890, "1.23 GB")])
def test_sizes_are_said_as_memory_cards_say_them(size: int, said: str) -> None:
    assert size_text(size) == said
