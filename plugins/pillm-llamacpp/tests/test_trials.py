"""A mix of types becomes a file, and what it costs is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from pillm_llamacpp.choosing.trials import Bench, Mix, memory, patterns
from pillm_llamacpp.quantizing.quantization import types_of
from pillm_llamacpp_benching import bench_of

import pillm


@pytest.fixture(scope="module")
def bench(exported: dict[str, pillm.ModelFile], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench_of(exported["F16"].path, tmp_path_factory.mktemp("bench"), rounded=True)


def test_a_trial_holds_the_types_that_were_asked_for_and_what_they_cost(bench: Bench) -> None:
    head = {"token_embd.weight": "Q4_0"}
    plain = bench.tried(Mix(name="Q8_0", quant="Q8_0"))
    small = bench.tried(Mix(name="head", quant="Q8_0", types=head))
    assert types_of(bench.made["head"])["Q4_0"] == 1
    assert small.bytes == bench.made["head"].stat().st_size < plain.bytes
    assert small.kld > plain.kld > 0
    assert small.divergence is not None
    assert small.divergence.mean == small.kld
    assert (small.tg_tps or 0) > (plain.tg_tps or 0) > 0
    assert small.ram < plain.ram
    assert (small.types, small.imatrix, small.rounded, small.score) == (head, False, False, None)


def test_rounding_lowers_the_divergence_at_the_same_size(bench: Bench) -> None:
    plain = bench.tried(Mix(name="plain", quant="Q4_0"))
    better = bench.tried(Mix(name="better", quant="Q4_0", rounded=True))
    assert better.bytes == plain.bytes
    assert better.rounded
    assert better.kld < plain.kld
    bench.rounds = False
    try:
        assert not bench.tried(Mix(name="neither", quant="Q4_0", rounded=True)).rounded
    finally:
        bench.rounds = True


def test_a_file_is_made_once_and_is_gone_when_it_is_dropped(bench: Bench) -> None:
    mix = Mix(name="once", quant="Q8_0")
    path = bench.make(mix)
    made = path.stat().st_mtime_ns
    assert bench.make(mix).stat().st_mtime_ns == made
    bench.drop("once")
    bench.drop("once")
    assert not path.exists()
    assert bench.divergence(mix) > 0
    assert not path.exists(), "a divergence alone keeps no file"


def test_the_full_file_is_what_others_are_held_against(bench: Bench) -> None:
    whole = bench.whole()
    assert (whole.name, whole.kld, whole.bytes) == ("F16", 0.0, bench.full.stat().st_size)


def test_a_kept_file_moves_and_the_full_one_stays(bench: Bench, tmp_path: Path) -> None:
    path = bench.make(Mix(name="kept", quant="Q8_0"))
    bench.keep("kept", tmp_path / "kept.gguf")
    bench.keep("F16", tmp_path / "full.gguf")
    assert (tmp_path / "kept.gguf").is_file()
    assert not path.exists()
    assert (tmp_path / "full.gguf").read_bytes() == bench.full.read_bytes()


def test_memory_counts_what_a_file_takes_and_not_what_is_free() -> None:
    told = {"weights": 5, "kv_cache": 2, "reserve": 100, "available": 900}
    plan = pillm.Plan(
        model="m", device="d", quant="q", fits=True, bytes=1, memory=told, tg_tps=None, pp_tps=None, context=1, verdict=""
    )
    assert memory(plan) == 7


def test_patterns_name_one_tensor_each() -> None:
    assert patterns({"blk.1.attn_q.weight": "Q4_0"}) == {r"^blk\.1\.attn_q\.weight$": "Q4_0"}
