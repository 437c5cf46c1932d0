"""What memory a model takes, by purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pillm.devices import device
from pillm.devices.memory import fits, memory_needed, needed, size_text
from pillm.devices.shapes import from_config
from tests.benchmarks.planning.rows import MODELS

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
    assert fits(SHAPE, replace(board, ram_mib=2000), 512) is False
    assert fits(SHAPE, replace(board, ram_mib=2000).without_repacking(), 512) is True


def test_a_vocabulary_takes_memory_of_its_own() -> None:
    smaller = SHAPE.with_vocabulary(SHAPE.vocabulary // 4)
    saved = memory_needed(SHAPE, PROFILE, 512)["runtime"] - memory_needed(smaller, PROFILE, 512)["runtime"]
    assert saved == 130 * (SHAPE.vocabulary - smaller.vocabulary)


@pytest.mark.parametrize(("size", "said"), [(999_949, "1.0 MB"), (12_345_678, "12.3 MB"), (1_234_567_890, "1.23 GB")])
def test_sizes_are_said_as_memory_cards_say_them(size: int, said: str) -> None:
    assert size_text(size) == said
