"""The planner: held against published measurements, and its arithmetic against what it says."""

from __future__ import annotations

import json
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pillm.artifacts import Checkpoint, Lengths, ModelFile, to_json
from pillm.cli.cards import plan_lines
from pillm.devices import device
from pillm.devices.planner import memory_to_serve, plan, plan_shape, plan_table
from pillm.devices.quants import BY_REQUEST
from pillm.devices.shapes import from_config
from pillm.devices.speed import decode_speed, prefill_speed
from pillm.errors import ConfigError, DataError
from tests.benchmarks.planning.rows import MODELS, config, rows_of

SHAPES = MODELS
LLAMA_8B = config("llama", 4096, 14336, 32, (32, 8, 128), 128256, max_position_embeddings=8192)
NANO = config("qwen2", 256, 768, 4, (8, 2, 32), 4096, tie_word_embeddings=True, max_position_embeddings=1024)


def test_memory_adds_up_and_the_verdict_follows_it(tmp_path: Path) -> None:
    found = plan(write(tmp_path, LLAMA_8B), "pi4-8gb", quant="Q4_K_M")
    needed = sum(size for purpose, size in found.memory.items() if purpose != "available")
    assert found.fits == (needed <= found.memory["available"]) is True
    assert found.memory["kv_cache"] == 4096 * 32 * 8 * 2 * 128 * 2
    assert found.memory["weights"] == found.bytes
    assert found.verdict.startswith("Fits Raspberry Pi 4, 8 GB: ")
    assert (found.quant, found.basis, found.context) == ("Q4_K_M", "predicted", 4096)
    assert found.sources["decode"].trust == 1


def test_a_model_far_from_the_fitted_ones_is_called_extrapolated_and_less_trusted(tmp_path: Path) -> None:
    inside = plan(write(tmp_path, SHAPES["Llama-3.2-1B"]), "pi4-4gb", quant="Q4_K_M")
    assert inside.sources["decode"].trust == inside.sources["prefill"].trust == 3
    assert (inside.basis_note, "extrapolated" in inside.verdict) == ("", False)
    for config_, device_, quant in ((NANO, "pi4-4gb", "Q8_0"), (NANO, "pi5-8gb", "Q4_0"), (LLAMA_8B, "pi4-8gb", "Q4_K_M")):
        found = plan(write(tmp_path, config_), device_, quant=quant)
        assert found.basis_note.startswith("extrapolated: the speeds were fitted on files of ")
        assert "tokens per second, extrapolated" in found.verdict
        assert {found.sources[name].trust for name in ("decode", "prefill")} == {1}
        assert to_json(found)["basis_note"] == found.basis_note
        assert "(predicted, extrapolated; trust 1 of 3)" in "\n".join(plan_lines(found))
    assert "239.3 MB to 2.49 GB, this one has " in plan(write(tmp_path, NANO), "pi4-4gb").basis_note
    assert plan(write(tmp_path, NANO), "generic-x86").basis_note == "", "nothing was predicted"


def test_every_measured_file_lies_within_the_fitted_range() -> None:
    sizes = [row.shape.file_bytes for row in rows_of("pi4")]
    profile = device("pi4-4gb")
    assert all(profile.fitted(size) for size in sizes)
    assert not profile.fitted(int(0.99 * min(sizes)))
    assert not profile.fitted(int(1.01 * max(sizes)))


def test_what_does_not_fit_is_told_what_would(tmp_path: Path) -> None:
    found = plan(write(tmp_path, LLAMA_8B), "pi4-4gb", quant="Q8_0")
    assert not found.fits
    assert found.verdict.startswith("Does not fit Raspberry Pi 4, 4 GB: it needs ")
    first, second = found.alternatives
    assert str(first).startswith("Raspberry Pi 4, 8 GB with Q4_K_M: 4.92 GB, about 0.7")
    assert (first.what, first.device, first.quant) == ("Raspberry Pi 4, 8 GB with Q4_K_M", "pi4-8gb", "Q4_K_M")
    assert (first.fits, first.extrapolated, first.context, first.bytes > 4.9e9) == (True, True, 2048, True)
    assert str(second).startswith("a student of 250M weights ")
    half = plan(write(tmp_path, SHAPES["Llama-3.2-1B"]), "pi4-2gb", quant="F16")
    assert not half.fits
    assert any(str(one).startswith("Q6_K: 1.0") for one in half.alternatives)
    assert any(str(one).startswith("Raspberry Pi 4, 4 GB: ") for one in half.alternatives)


@pytest.mark.parametrize("quant", sorted(BY_REQUEST))
def test_what_suits_few_models_is_planned_for_and_never_offered(tmp_path: Path, quant: str) -> None:
    path = write(tmp_path, LLAMA_8B)
    assert plan(path, "pi4-8gb", quant=quant).quant == quant
    tight = replace(device("pi4-4gb"), ram_mib=3000)
    for asked in ("F16", "Q8_0"):
        assert not any(one.quant == quant for one in plan(path, tight, quant=asked, context=256).alternatives)


def test_a_shorter_context_is_offered_where_it_is_enough() -> None:
    shape = from_config({**SHAPES["Qwen3-0.6B"], "max_position_embeddings": 32768}, "x").quantised("Q8_0")
    found = plan_shape(shape, device("pi4-2gb"), 16384)
    assert not found.fits
    assert (found.alternatives[0].what, found.alternatives[0].context) == ("4096 tokens of context", 4096)


def test_faster_quantisations_are_named_where_it_fits(tmp_path: Path) -> None:
    found = plan(write(tmp_path, SHAPES["Llama-3.2-1B"]), "pi4-8gb", quant="Q8_0")
    assert found.fits
    assert str(found.alternatives[0]).startswith("Q4_K_M: 805.0 MB, about 4.4")


def test_a_checkpoint_is_planned_in_the_devices_first_choice_for_its_rows(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", SHAPES["Llama-3.2-1B"])
    odd = write(tmp_path / "odd", SHAPES["Qwen2.5-0.5B-Instruct"])
    assert plan(Checkpoint(path=whole.parent), "pi4-4gb").quant == "Q4_K_M"
    assert plan(odd, "pi4-4gb").quant == "Q4_0", "896 does not divide by 256"
    assert plan(odd, "pi5-8gb").quant == "Q4_0"


def test_a_gguf_file_is_planned_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_gguf())
    found = plan(ModelFile(path=path, quant="F16", bytes=path.stat().st_size, sha256="0" * 64), "pi4-4gb")
    assert (found.model, found.quant, found.fits, found.bytes) == ("tiny.gguf", "F16", True, path.stat().st_size)
    assert found.context == 512, "no more than the model was trained for"
    assert plan(path, "pi4-4gb", quant="Q4_0").bytes < found.bytes


def test_a_smaller_head_is_planned_without_a_file() -> None:
    whole = plan(LLAMA_8B | {"name": "m"}, "pi4-8gb", quant="Q8_0")
    small = plan(LLAMA_8B | {"name": "m"}, "pi4-8gb", quant="Q8_0", types={"output.weight": "Q4_0"})
    assert whole.bytes - small.bytes == 128256 * 4096 // 32 * (34 - 18)
    assert (small.tg_tps or 0) > (whole.tg_tps or 0)


def test_an_interval_is_told_where_the_speed_was_fitted_and_nowhere_else(tmp_path: Path) -> None:
    found = plan(write(tmp_path, SHAPES["Llama-3.2-1B"]), "pi4-4gb", quant="Q4_K_M")
    low, high = found.tg_interval or (0.0, 0.0)
    assert low < (found.tg_tps or 0) < high < 1.07 * low
    assert found.pp_interval is not None
    assert f"predicted; 90 %: {low:g} to {high:g}; trust 3 of 3" in "\n".join(plan_lines(found))
    far = plan(write(tmp_path, NANO), "pi4-4gb")
    assert (far.tg_interval, far.pp_interval) == (None, None)
    guessed = plan(write(tmp_path, SHAPES["Llama-3.2-1B"]), "pi4-4gb", quant="Q2_K")
    assert guessed.pp_interval is None, "its cycles are an estimate"


def test_the_times_of_a_request_are_told_with_and_without_a_saved_prefix(tmp_path: Path) -> None:
    path = write(tmp_path, SHAPES["Llama-3.2-1B"])
    found = plan(path, "pi4-4gb", quant="Q4_K_M", lengths=Lengths(prompt=600, answer=60, prefix=500))
    assert (found.ttft_saved_s or 0) < (found.ttft_s or 0) / 4
    assert (found.answer_s or 0) > (found.ttft_s or 0) + 12
    assert found.prefix_bytes == 500 * 32768
    shown = "\n".join(plan_lines(found))
    assert "a prompt of 600 tokens and an answer of 60, the model loaded:" in shown
    assert "the first 500 tokens saved" in shown
    assert plan(path, "pi4-4gb").ttft_s is None
    assert plan(path, "generic-x86", lengths=Lengths(prompt=9, answer=9)).ttft_s is None, "nobody measured it"


def test_the_context_holds_the_request_and_what_that_costs_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, SHAPES["Llama-3.2-1B"])
    long = Lengths(prompt=4000, answer=60)
    found, usual = plan(path, "pi4-2gb", quant="Q4_K_M", lengths=long), plan(path, "pi4-2gb", quant="Q4_K_M")
    assert (usual.context, found.context) == (1024, 4060)
    cost = found.memory["kv_cache"] - usual.memory["kv_cache"]
    assert cost == (4096 - 1024) * 16 * 8 * 2 * 64 * 2
    assert f"with 4060 tokens of context (the usual 1024 do not hold the request: {cost / 1e6:.1f} MB more)" in found.verdict
    assert plan(path, "pi4-2gb", quant="Q4_K_M", lengths=Lengths(prompt=9, answer=9)).context == 1024
    with pytest.raises(ConfigError, match=r"a context of 2000 tokens cannot hold a prompt of 4000 .* Give a context of 4060"):
        plan(path, "pi4-2gb", quant="Q4_K_M", context=2000, lengths=long)


def test_what_a_request_needs_is_not_offered_in_less_context() -> None:
    shape = from_config({**SHAPES["Qwen3-0.6B"], "max_position_embeddings": 32768}, "x").quantised("Q8_0")
    whole = plan_shape(shape, device("pi4-2gb"), lengths=Lengths(prompt=16000, answer=300))
    assert (whole.fits, whole.context) == (False, 16300)
    assert all(one.context == 16300 for one in whole.alternatives)


def test_a_copy_of_the_weights_is_counted_where_the_device_makes_one(tmp_path: Path) -> None:
    path = write(tmp_path, SHAPES["Llama-3.2-1B"])
    pi4, pi5 = plan(path, "pi4-4gb", quant="Q4_0"), plan(path, "pi5-4gb", quant="Q4_0")
    assert (pi4.memory["repacked"], pi5.memory["repacked"]) == (0, pytest.approx(pi5.bytes, rel=0.03))
    assert plan(path, "pi5-4gb", quant="F16").memory["repacked"] == 0
    plain = plan(path, device("pi5-4gb").without_repacking(), quant="Q4_0")
    assert (plain.memory["repacked"], plain.tg_tps, plain.pp_tps) == (0, None, None)
    assert "nobody measured Q4_0, Q6_K without its repacked copy on this device" in plain.verdict


def test_each_figure_says_its_source_and_an_estimate_says_so(tmp_path: Path) -> None:
    found = plan(write(tmp_path, SHAPES["Llama-3.2-1B"]), "orangepi5", quant="Q4_0")
    assert found.pp_tps is not None
    assert set(found.sources) == {"memory", "prefill"}
    assert found.basis_note == "prefill is an estimate (the same core as the Raspberry Pi 5's)"
    shown = "\n".join(plan_lines(found))
    assert "tokens/s (predicted, estimated; trust 1 of 3)" in shown
    assert "prefill    trust 1 of 3: the same core as the Raspberry Pi 5's" in shown
    assert set(found.told) == {"memory", "prefill"}


def test_a_table_goes_over_the_quantisations_that_suit_the_device(tmp_path: Path) -> None:
    found = plan_table(write(tmp_path, SHAPES["Llama-3.2-1B"]), "pi4-2gb")
    assert [one.bytes for one in found] == sorted((one.bytes for one in found), reverse=True) or len(found) > 5
    assert {"F16", "Q8_0", "Q4_K_M", "Q4_0", "IQ4_NL"} <= {one.quant for one in found}
    assert not {"IQ3_M", "Q2_K"} & {one.quant for one in found}
    assert {one.fits for one in found} == {True, False}


def test_a_tiny_model_is_bound_by_its_layers() -> None:
    shape, profile = from_config(NANO, "nano").quantised("Q8_0"), device("pi4-4gb")
    speed = decode_speed(shape, profile)
    assert speed is not None
    assert 300 < speed < 1 / (4 * profile.layer_ms / 1e3)


def test_pi_5_is_about_three_times_as_fast() -> None:
    shape = from_config(SHAPES["Qwen2.5-0.5B-Instruct"], "x").quantised("Q4_0")
    speed = decode_speed(shape, device("pi5-8gb"))
    assert speed == pytest.approx(33.8, rel=0.03), "published: 33.8 at two threads"
    assert prefill_speed(shape, device("pi5-8gb")) == pytest.approx(289.9, rel=0.05)


def test_an_uncalibrated_device_has_no_speed_but_memory(tmp_path: Path) -> None:
    found = plan(write(tmp_path, NANO), "generic-x86")
    assert (found.tg_tps, found.pp_tps) == (None, None)
    assert "not calibrated" in found.verdict
    assert found.fits
    assert found.alternatives == ()


def test_a_type_whose_cycles_nobody_knows_has_no_prefill_speed() -> None:
    shape = from_config(NANO, "x").quantised("BF16")
    assert prefill_speed(shape, device("pi5-8gb")) is None
    assert decode_speed(shape, device("pi5-8gb")) is not None


def test_more_context_than_the_model_knows_is_noted(tmp_path: Path) -> None:
    found = plan(write(tmp_path, NANO), "pi4-4gb", context=4000)
    assert (found.context, "trained for 1024 tokens" in found.verdict) == (4000, True)
    assert plan(write(tmp_path, NANO), "pi4-4gb").context == 1024


def test_bad_questions_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, NANO)
    with pytest.raises(ConfigError, match="Did you mean 'pi4-4gb'"):
        plan(path, "pi4-4g")
    with pytest.raises(ConfigError, match="no size is known"):
        plan(path, "pi4-4gb", quant="Q9")
    with pytest.raises(ConfigError, match="a context of 0 tokens"):
        plan(path, "pi4-4gb", context=0)
    with pytest.raises(DataError, match="is not a file"):
        plan(tmp_path / "nothing.gguf", "pi4-4gb")


def test_a_plan_takes_milliseconds_and_loads_nothing_heavy(tmp_path: Path) -> None:
    path = write(tmp_path, SHAPES["Qwen3-0.6B"])
    started = time.process_time()
    plan(path, "pi4-2gb", quant="F16")
    assert time.process_time() - started < 0.5


def write(folder: Path, said: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "config.json"
    path.write_text(json.dumps(said))
    return path


def tiny_gguf() -> bytes:
    def text(said: str) -> bytes:
        return struct.pack("<Q", len(said)) + said.encode()

    numbers = {"block_count": 1, "embedding_length": 256, "attention.head_count": 4, "context_length": 512}
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 1 + len(numbers))
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += b"".join(text(f"llama.{key}") + struct.pack("<II", 4, number) for key, number in numbers.items())
    head += text("token_embd.weight") + struct.pack("<IQQIQ", 2, 256, 100, 1, 0)
    head += text("blk.0.attn_q.weight") + struct.pack("<IQQIQ", 2, 256, 256, 1, 51200)
    return head + bytes(-len(head) % 32) + bytes(51200 + 131072)


def test_what_serving_takes_counts_the_cache_of_every_answer(tmp_path: Path) -> None:
    one = memory_to_serve(NANO, context=1024)
    kv = plan(write(tmp_path, NANO), "pi4-4gb", context=1024).memory["kv_cache"]
    assert memory_to_serve(NANO, context=1024, parallel=4) - one == 3 * kv > 0
    assert memory_to_serve(NANO, context=1024, ubatch=128) < one
    told = plan(write(tmp_path, NANO), "pi4-4gb", context=1024, quant="F16").memory
    assert memory_to_serve(NANO, context=1024, ubatch=128) == sum(told.values()) - told["available"] - told["reserve"]
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(b"GGUF?")
    assert memory_to_serve(ModelFile.of(strange, "Q8_0"), context=64, parallel=2) == 5 + (256 << 20)
