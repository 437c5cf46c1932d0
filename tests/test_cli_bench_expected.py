"""What is foretold is foretold for the very work that is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

import pillm
from pillm.cli.bench_expected import expected_of
from pillm.devices import device

CONFIG = {
    "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 896, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864, "vocab_size": 151936,
    "max_position_embeddings": 32768, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> pillm.Checkpoint:
    import json

    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return pillm.Checkpoint(path=tmp_path)


def test_the_usual_lengths_are_the_plans_own_speeds(model: pillm.Checkpoint) -> None:
    board = device("pi4-4gb")
    plan, found = pillm.plan(model, board), expected_of(board, model, pillm.BenchPlan())
    assert (found.pp_tps, found.tg_tps) == (plan.pp_tps, plan.tg_tps)
    assert (found.pp, found.tg, found.pp_threads, found.tg_threads) == (512, 128, 4, 4)
    assert found.memory
    assert 0 < found.memory < plan.memory["available"]


def test_other_lengths_have_speeds_of_their_own(model: pillm.Checkpoint) -> None:
    board = device("pi4-4gb")
    usual = expected_of(board, model, pillm.BenchPlan())
    short, long = (expected_of(board, model, pillm.BenchPlan(pp=pp, tg=tg)) for pp, tg in ((32, 16), (4096, 2048)))
    assert None not in (short.pp_tps, short.tg_tps, long.pp_tps, long.tg_tps, usual.pp_tps, usual.tg_tps)
    assert long.pp_tps < usual.pp_tps, "every token attends to more"  # type: ignore[operator]
    assert long.tg_tps < usual.tg_tps  # type: ignore[operator]
    assert short.tg_tps == pytest.approx(usual.tg_tps, rel=0.02)


def test_a_device_that_nobody_calibrated_foretells_no_speed(model: pillm.Checkpoint) -> None:
    import dataclasses

    profile = dataclasses.replace(device("generic-arm64"), ram_mib=4096, own_ram=False)
    found = expected_of(profile, model, pillm.BenchPlan(pp=64, tg=16))
    assert (found.pp_tps, found.tg_tps) == (None, None)
