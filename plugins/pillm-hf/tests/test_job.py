"""Training, from rows to a checkpoint: every trainer and preset learns, saves, merges and can be asked."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import DoRA, Full, HFRunner, LoRA, QLoRA
from pillm_hf.models.loading import load_model
from pillm_hf.options.presets import PRESETS
from pillm_hf_jobs import FAST, train

import pillm


@pytest.mark.parametrize(
    ("trainer", "options"),
    [
        (LoRA, {"gradient_checkpointing": True, "dropout": 0.1}),
        (DoRA, {}),
        (QLoRA, {}),
        (QLoRA, {"double_quant": False}),
        (QLoRA, {"quant_type": "fp4"}),
        (QLoRA, {"quant_type": "fp4", "double_quant": False, "use_dora": True}),
        *((LoRA, {"preset": name}) for name in PRESETS),
    ],
)
def test_every_trainer_learns_keeps_its_adapter_and_merges_into_16_bit(
    trainer: type[LoRA], options: dict[str, Any], base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    log, _ = train(trainer(base=str(base), **FAST | options), data, out)
    assert log["log"][-1]["loss"] < log["log"][0]["loss"]
    assert json.loads((out / "adapter" / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"] == str(base)
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
    assert pillm.Checkpoint(path=out).config["dtype"] == "bfloat16"
    merged = load_model(out, "auto")
    assert merged.dtype == torch.bfloat16
    assert not hasattr(merged.config, "quantization_config")


def test_a_full_training_writes_all_weights_in_16_bit(qwen: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    options = {name: FAST[name] for name in FAST if name != "rank"} | {"save_dtype": "float16"}
    log, _ = train(Full(base=str(qwen), **options), data, tmp_path / "out")
    assert log["learnt_parameters"] == log["parameters"]
    assert log["log"][-1]["loss"] < log["log"][0]["loss"]
    assert not (tmp_path / "out" / "adapter").exists()
    assert load_model(tmp_path / "out", "auto").dtype == torch.float16
    assert not (tmp_path / "out" / "trained-float32").exists()


def test_a_student_learns_twenty_rows_and_answers_them_exactly(
    base: Path, data: pillm.TrainingData, requests: list[pillm.Request], pairs: list[Any], tmp_path: Path
) -> None:
    options = {"rank": 16, "learning_rate": 2e-2, "num_train_epochs": 80, "per_device_train_batch_size": 20}
    out = tmp_path / "out"
    log, _ = train(LoRA(base=str(base), dtype="float32", **options), replace(data, validation=data.train), out)
    assert log["validation"][-1]["validation_accuracy"] == 1.0
    with HFRunner(dtype="float32").open(pillm.Checkpoint(path=out)) as session:
        got = {request.prompt.id: answer for request, answer in session.answer(iter(requests))}
    assert [got[f"p{number}"].content for number in range(20)] == [answer for _, answer in pairs]
    assert {answer.finish_reason for answer in got.values()} == {"stop"}


def test_the_table_of_tokens_learns_at_a_rate_of_its_own(qwen: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    options = {name: FAST[name] for name in FAST if name != "rank"} | {"learning_rate": 1e-8}
    before = load_model(qwen, torch.float32)
    train(Full(base=str(qwen), embedding_learning_rate=1e-2, save_dtype="float16", **options), data, tmp_path / "out")
    after = load_model(tmp_path / "out", torch.float32)
    moved = {name: (after.get_parameter(name) - weight).abs().max() for name, weight in before.named_parameters()}
    tables = {name for name in moved if "embed_tokens" in name or "lm_head" in name}
    assert all(moved[name] > 5e-3 for name in tables)
    assert all(moved[name] < 1e-3 for name in set(moved) - tables)


def test_progress_tells_loss_speed_rate_and_validation(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    log, seen = train(LoRA(base=str(base), **FAST), data, tmp_path / "out")
    start = next(event for event in seen if event.kind == "start")
    assert (start.total, start.unit) == (4, "steps")
    advances = [event for event in seen if event.kind == "advance"]
    assert {"loss", "tokens_per_second", "learning_rate"} <= advances[0].figures.keys()
    assert sum("validation_loss" in event.figures for event in advances) == 2
    assert advances[-1].done == 4
    assert log["steps"] == 4
    assert len(log["validation"]) == 2


def test_the_same_seed_trains_the_same_student(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    from pillm_hf.models.hub import content_hash

    def made(name: str, **options: Any) -> str:
        train(LoRA(base=str(base), dropout=0.1, **FAST | options), data, tmp_path / name)
        return content_hash(tmp_path / name)

    torch.manual_seed(1)
    one = made("one")
    torch.manual_seed(2)
    assert made("two") == one
    assert made("three", seed=99) != one


def test_a_loss_that_is_not_a_number_stops_before_anything_is_saved(
    base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(base, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(pillm.BackendError, match="the loss is nan at step 1; the step was not taken"):
        train(LoRA(base=str(broken), **FAST), data, tmp_path / "out")
    assert not (tmp_path / "out" / "adapter").exists()
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_merge_that_changes_the_answers_is_refused_and_the_adapter_is_kept(
    base: Path, data: pillm.TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel

    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda self: self.unload(), raising=False)
    with pytest.raises(pillm.BackendError, match="nats per token"):
        train(LoRA(base=str(base), **FAST | {"learning_rate": 0.05}), data, tmp_path / "out")
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_rounding_that_changes_the_answers_is_refused_and_the_trained_weights_are_kept(
    qwen: Path, data: pillm.TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pillm_hf.training import students

    def spoilt(model: Any, dtype: torch.dtype) -> Any:
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype) * 0
        return model

    monkeypatch.setattr(students, "in_16_bit", spoilt)
    options = {name: FAST[name] for name in FAST if name != "rank"}
    kept = tmp_path / "out" / "trained-float32"
    with pytest.raises(pillm.BackendError, match="nats per token") as refused:
        train(Full(base=str(qwen), **options), data, tmp_path / "out")
    assert str(kept) in str(refused.value)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    model = load_model(kept, "auto")
    assert model.dtype == torch.float32
    assert not torch.equal(model.get_input_embeddings().weight, load_model(qwen, torch.float32).get_input_embeddings().weight)
    assert (kept / "tokenizer.json").is_file()


@pytest.mark.parametrize("trainer", [LoRA, QLoRA])
@pytest.mark.parametrize("on", ["base", "qwen"])
def test_the_merged_weights_are_the_16_bit_bases_plus_the_adapters_product(
    trainer: type[LoRA], on: str, data: pillm.TrainingData, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from safetensors.torch import load_file

    folder = request.getfixturevalue(on)
    train(trainer(base=str(folder), alpha=12, **FAST | {"learning_rate": 0.02}), data, tmp_path)
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    layers = [name.removesuffix(".lora_A.weight") for name in adapter if name.endswith(".lora_A.weight")]
    assert len(layers) == 14
    for layer in layers:
        name = layer.removeprefix("base_model.model.") + ".weight"
        learnt = 12 / 4 * adapter[f"{layer}.lora_B.weight"].float() @ adapter[f"{layer}.lora_A.weight"].float()
        base = before[name].float()
        assert (after[name].float() - base - learnt).norm() < 0.1 * learnt.norm()
        torch.testing.assert_close(after[name].float(), base + learnt, rtol=2**-7, atol=1e-3)
    untouched = set(before) - {layer.removeprefix("base_model.model.") + ".weight" for layer in layers}
    assert all(torch.equal(after[name], before[name].bfloat16()) for name in untouched)


def test_layers_that_the_base_lacks_are_named(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    with pytest.raises(pillm.ConfigError, match="no_such_layer"):
        train(LoRA(base=str(base), target_modules=["no_such_layer"]), data, tmp_path / "out")


def test_many_rows_are_seen_to_be_tokenised(
    base: Path, data: pillm.TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pillm_hf.trainers.job._MANY", 10)
    _, seen = train(LoRA(base=str(base), **FAST), data, tmp_path / "out")
    told = [(event.kind, event.message, event.done, event.total, event.unit) for event in seen if event.kind != "note"]
    assert told[:3] == [
        ("start", "tokenising training rows", 0, 20, "rows"),
        ("advance", "", 10, 20, "rows"),
        ("advance", "", 20, 20, "rows"),
    ]
    assert ("start", "", 0, 4, "steps") in told


def test_how_a_student_begins_does_not_depend_on_what_was_planned_before(
    base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    made = []
    for name, given in (("planned", None), ("remembered", None), ("told", False)):
        train(LoRA(base=str(base), gradient_checkpointing=given, **FAST), data, tmp_path / name)
        made.append((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes())
    assert made[0] == made[1] == made[2]
