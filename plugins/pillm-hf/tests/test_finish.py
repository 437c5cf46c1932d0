"""The last part of a training with rounded weights: what it rounds, what it keeps, and that the file which ships gains."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pillm_hf import DoRA, Full, LoRA, QLoRA
from pillm_hf.models.loading import load_model
from pillm_hf.options.quantization import QuantizationAware
from pillm_hf.rounding.finish import SEARCH_EVERY, Finish
from pillm_hf.rounding.grids import Grid, rounded
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import encode
from pillm_hf.trainers.job import train
from pillm_hf.training.validating import validate
from safetensors.torch import load_file

import pillm

FAST: dict[str, Any] = {"dtype": "float32", "num_train_epochs": 2, "per_device_train_batch_size": 4, "learning_rate": 5e-3}
"""Twenty rows: five steps an epoch."""
PLAIN = torch.float32, torch.bfloat16


def log_of(out: Path) -> dict[str, Any]:
    log: dict[str, Any] = json.loads((out / "training.json").read_text("utf-8"))
    return log


def shipped_loss(out: Path, rows: pillm.Rows, grid: Grid) -> float:
    """Return the loss of rows under a checkpoint's weights as a file of that type holds them."""
    chat, model = load_chat(out), load_model(out, torch.float32)
    encoded = encode(rows, pillm.Contract(), chat, 256).rows
    with Finish(model, QuantizationAware(type=grid), *PLAIN).applied(0, exact=True):
        return validate(model, None, encoded, chat.pad_id, 4)["validation_loss"]


@pytest.mark.parametrize("grid", get_args(Grid))
def test_weights_are_on_the_grid_while_it_lasts_and_as_they_were_afterwards(base: Path, grid: Grid) -> None:
    model = load_model(base, torch.float32)
    finish = Finish(model, QuantizationAware(type=grid, share=0.3), *PLAIN)
    finish.schedule(10)
    before = {name: part.clone() for name, part in model.named_parameters()}
    for steps, on in ((6, False), (7, True)):
        with finish.applied(steps, exact=True):
            for layer in finish.layers:
                expected = rounded(before[f"{layer.name}.weight"].bfloat16(), layer.grid)
                assert torch.equal(layer.weight, expected if on else before[f"{layer.name}.weight"])
    assert len(finish.layers) == 15
    assert all(torch.equal(part, before[name]) for name, part in model.named_parameters())


def test_scales_of_iq4_nl_are_searched_now_and_then_and_always_where_a_student_is_judged(base: Path) -> None:
    model = load_model(base, torch.float32)
    finish = Finish(model, QuantizationAware(type="IQ4_NL", share=1), *PLAIN)
    layer = finish.layers[1]
    for steps in (0, 1, SEARCH_EVERY):
        with finish.applied(steps, exact=False):
            held = layer.weight.clone()
        with finish.applied(steps, exact=True):
            assert torch.equal(held, layer.weight) == (steps != 1)
        layer.weight.data += torch.randn_like(layer.weight) * 0.1


@pytest.mark.parametrize("trainer", [Full, LoRA, DoRA])
@pytest.mark.parametrize("grid", ["Q4_0", "IQ4_NL"])
def test_the_checkpoint_quantises_to_the_student_that_was_validated(
    trainer: type[Full], grid: Grid, base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    train(trainer(base=str(base), quantization_aware={"type": grid, "share": 0.5}, **FAST), data, tmp_path, pillm.Progress())
    log = log_of(tmp_path)
    assert log["quantization_aware"] == {
        "type": grid, "after_step": 5, "tensors": {"Q8_0": 1, grid: 14}, "share_of_weights": pytest.approx(0.9966, abs=1e-4),
    }  # fmt: skip
    assert log["options"]["quantization_aware"] == {"type": grid, "share": 0.5}
    # all but the norms, which are stored in 16 bit and computed with in 32, is the same to the last bit
    assert shipped_loss(tmp_path, data.validation, grid) == pytest.approx(log["best"]["loss"], rel=5e-3)


def test_only_validations_with_rounded_weights_choose_the_checkpoint(
    base: Path, data: pillm.TrainingData, rows: Callable[..., pillm.Rows], pairs: list[Any], tmp_path: Path
) -> None:
    data = replace(data, validation=rows([(ask, "x" * 20) for ask, _ in pairs[:4]]))  # what is learnt makes these worse
    options = FAST | {"num_train_epochs": 4, "eval_steps": 2, "early_stopping_patience": 2, "learning_rate": 2e-2}
    train(Full(base=str(base), quantization_aware={"type": "Q4_0", "share": 0.5}, **options), data, tmp_path, pillm.Progress())
    log = log_of(tmp_path)
    losses = {entry["step"]: entry["validation_loss"] for entry in log["validation"]}
    late = {step: loss for step, loss in losses.items() if step >= 10}
    assert min(losses, key=losses.__getitem__) < 10
    assert log["best"]["step"] == min(late, key=late.__getitem__)
    assert log["steps"] > 10  # the float part does not stop it


def test_a_finish_loses_less_than_quantising_afterwards_at_as_many_steps(
    base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    options = FAST | {"num_train_epochs": 24, "learning_rate": 3e-3, "load_best_model_at_end": False}
    found = {}
    for name, more in (("without", {}), ("with", {"quantization_aware": {"type": "Q4_0", "share": 0.5}})):
        out = tmp_path / name
        out.mkdir()
        train(Full(base=str(base), **options, **more), data, out, pillm.Progress())
        assert log_of(out)["steps"] == 120
        found[name] = shipped_loss(out, data.validation, "Q4_0")
    assert found["with"] < 0.8 * found["without"]


def test_4_bit_bases_are_refused_with_what_to_do_instead() -> None:
    for make in (QLoRA, lambda **more: LoRA(load_in_4bit=True, **more)):
        with pytest.raises(ValueError, match="Train with lora or dora, or leave it out"):
            make(base="x", quantization_aware={"type": "Q4_0"})


def test_several_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="quantization_aware does not go with a launcher"):
        Full(base="x", quantization_aware={"type": "Q4_0"}, launcher={"processes": 2})


def test_the_option_is_part_of_the_key_and_comes_from_text_too(base: Path) -> None:
    plain = Full(base=str(base))
    given = pillm.trainer("full", base=str(base), quantization_aware={"type": "IQ4_NL", "share": "0.3"})
    assert given.quantization_aware == QuantizationAware(type="IQ4_NL", share=0.3)
    assert given.identity() != plain.identity()
    assert "quantization_aware" not in plain.identity()
    with pytest.raises(pillm.ConfigError, match="type"):
        pillm.trainer("full", base=str(base), quantization_aware={"type": "Q4_K_M"})


def test_half_a_base_and_half_an_adapter_are_rounded_each_in_its_way(
    base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    options = FAST | {"target_modules": ["q_proj"], "quantization_aware": {"type": "Q4_0", "share": 1.0}}
    train(LoRA(base=str(base), **options), data, tmp_path, pillm.Progress())
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    for name, weight in after.items():
        assert torch.equal(weight, before[name].bfloat16()) == ("q_proj" not in name)
    assert shipped_loss(tmp_path, data.validation, "Q4_0") == pytest.approx(log_of(tmp_path)["best"]["loss"], rel=5e-3)
