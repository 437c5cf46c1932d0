"""`pillm bench` with the real llama.cpp: everything that a plan asks for, and a gate at work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.measuring.timefiles import Shape, write_file
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp_zoo import build

import pillm

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "maxLength": 6}},
    "required": ["a"],
    "additionalProperties": False,
}
ROW = pillm.Prompt(id="a", messages=({"role": "user", "content": "Bonjour"},), schema=SCHEMA)


def test_all_that_a_plan_asks_for_is_timed(gguf: pillm.ModelFile) -> None:
    plan = pillm.BenchPlan(
        pp=32, tg=8, repetitions=2, more_pp=(16,), depths=(64, 4096), thread_counts=(1, 2), prefix=True, loads=1, sustained=0.1,
        prompts=(ROW,), texts=("hello",),
    )  # fmt: skip
    found = pillm.bench(gguf, LocalRunner(max_tokens=12, threads=1), plan=plan)
    assert {one.name for one in found.points} == {
        "pp32", "tg8", "pp16", "pp32 t1", "tg8 t1", "pp32 t2", "tg8 t2", "pp32 @ d64", "tg8 @ d64",
    }  # fmt: skip
    assert all(len(one.speed.samples) == 2 for one in found.points)
    assert {"pp32 @ d4096", "tg8 @ d4096"} <= set(found.not_measured)
    assert {
        "load_warm_ms", "ttft_ms", "ttft_prefix_ms", "inter_token_ms", "inter_token_p95_ms", "answer_ttft_ms", "embed_ms",
        "answer_ttft_cached_ms", "inter_token_free_ms", "inter_token_constrained_ms", "sustained_first_ms", "sustained_last_ms",
    } <= set(found.times)  # fmt: skip
    assert found.memory["peak"] >= found.memory["pss"] > 0
    assert (found.sha256, found.runner, found.threads) == (gguf.sha256, "local", 1)
    assert found.conditions is not None
    assert found.conditions.machine == "this machine"
    assert found.build is not None
    assert found.build.startswith("llama.cpp ")
    assert found.repack == ("REPACK = 1" in str(found.details["features"]) and "AMX" not in str(found.details["features"]))
    assert {one.phase for one in found.readings} <= {
        "idle",
        "between",
        "pp",
        "tg",
        "prefix",
        "answers",
        "embeddings",
        "sustained",
    }


def test_a_prefix_in_the_cache_is_not_read_again(gguf: pillm.ModelFile) -> None:
    with LocalRunner(max_tokens=4).open(gguf) as session:
        assert isinstance(session, pillm.Timer)
        cold = session.reply(ROW, constrained=False, fresh=True)
        warm = session.reply(ROW, constrained=False, fresh=False)
        again = session.reply(ROW, constrained=False, fresh=True)
    assert (cold.cached, again.cached) == (0, 0)
    assert warm.cached > 0
    assert len(cold.gaps_ms) == 3


def bench(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pillm", "bench", *map(str, words), "--pp", "64", "--tg", "16", "--max-spread", "9"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_file_that_became_slower_exits_with_3_and_is_in_the_history(tmp_path: Path) -> None:
    paths = {layers: tmp_path / str(layers) / "student-Q8_0.gguf" for layers in (1, 16)}
    for layers, path in paths.items():
        path.parent.mkdir()
        write_file(path, Shape(hidden=256, wide=512, layers=layers, heads=4, kv_heads=2, vocabulary=512), "Q8_0")
    kept = ("--history", tmp_path / "h.jsonl", "--across", "model", "-o", "threads=1")
    assert bench(paths[1], *kept, "--save-baseline", "release").returncode == 0
    done = bench(paths[16], *kept, "--baseline", "release", "--gate", "tg_tps>=0.6 of baseline")
    assert done.returncode == 3, done.stderr
    assert "slower than the baseline: tg_tps" in done.stderr
    assert "The record is kept" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text("utf-8").splitlines()]
    assert [line["kind"] for line in lines] == ["started", "measured", "baseline", "started", "measured"]
    assert lines[-1]["body"]["record"]["sha256"] == pillm.sha256_file(paths[16])


@pytest.mark.full
def test_an_encoder_is_timed_reading_and_embedding(tmp_path: Path) -> None:
    checkpoint = build("bert", tmp_path)
    (model,) = GGUFExporter(quants=["F16"], threads=1, logits="skip").export(checkpoint, tmp_path / "out", pillm.Progress())
    plan = pillm.BenchPlan(pp=64, repetitions=2, depths=(64,), texts=("a small brown fox",) * 3)
    found = pillm.bench(model, LocalRunner(threads=1), plan=plan)
    assert (found.pp, found.tg, found.tg_tps) == (64, 0, 0.0)
    assert found.pp_tps > 0
    assert len(found.times["embed_ms"].samples) == 3
    assert found.not_measured["depths"] == "the model writes nothing: it embeds"
