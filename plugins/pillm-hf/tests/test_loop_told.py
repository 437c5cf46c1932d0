"""What a training tells of its steps and validations, and that rows at once are rows one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pillm_hf import Full, LoRA
from pillm_hf.models.loading import load_model
from pillm_hf.trainers.job import train

import pillm

FAST = {
    "num_train_epochs": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 5e-3,
    "rank": 4, "logging_steps": 1, "eval_steps": 3, "dtype": "float32",
}  # fmt: skip
"""Twenty rows: five optimiser steps an epoch, of two passes each."""


def test_every_step_is_told_and_figures_stand_at_the_step_that_they_are_of(
    base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    seen: list[pillm.Event] = []
    options = {**FAST, "logging_steps": 3, "eval_steps": 4}
    train(LoRA(base=str(base), **options), data, tmp_path, pillm.Progress("train", (seen.append,)))
    advances = [event for event in seen if event.kind == "advance" and event.unit == "steps"]
    validated = [event.done for event in advances if "validation_loss" in event.figures]
    logged = [event for event in advances if "loss" in event.figures]
    assert [event.done for event in advances if "validation_loss" not in event.figures] == list(range(1, 11))
    assert [event.done for event in logged] == [3, 6, 9, 10]
    assert validated == [4, 8]
    log = json.loads((tmp_path / "training.json").read_text("utf-8"))
    assert [entry["step"] for entry in log["log"]] == [3, 6, 9, 10]
    told = [event.figures["tokens_per_second"] * entry["seconds"] for event, entry in zip(logged, log["log"], strict=True)]
    assert 0 < told[0] < log["tokens"]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(log["tokens"], rel=0.02)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"eval_steps": 3, "early_stopping_patience": 2}, ["eval_steps=3 and early_stopping_patience=2"]),
        ({"early_stopping_patience": 2}, ["early_stopping_patience=2"]),
        ({}, []),
    ],
)
def test_options_of_validations_are_warned_of_once_where_nothing_is_validated(
    base: Path,
    data: pillm.TrainingData,
    rows: Callable[..., pillm.Rows],
    tmp_path: Path,
    given: dict[str, int],
    told: list[str],
) -> None:
    seen: list[pillm.Event] = []
    options = {name: value for name, value in FAST.items() if name != "eval_steps"} | given
    none = replace(data, validation=rows([]))
    train(LoRA(base=str(base), **options), none, tmp_path, pillm.Progress("train", (seen.append,)))
    warned = [event.message for event in seen if event.kind == "warning" and "without validation rows" in event.message]
    assert [message.partition(":")[0] for message in warned] == told


def test_eight_rows_at_once_train_as_eight_one_by_one(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    def weights(name: str, rows: int, passes: int) -> dict[str, torch.Tensor]:
        options = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": passes, "num_train_epochs": 1}
        out = tmp_path / name
        out.mkdir()
        train(
            Full(base=str(base), dtype="float32", save_dtype="float16", learning_rate=1e-3, **options),
            data,
            out,
            pillm.Progress(),
        )
        return dict(load_model(out, torch.float32).named_parameters())

    together, alone = weights("a", 8, 1), weights("b", 1, 8)
    for name, weight in together.items():
        torch.testing.assert_close(weight, alone[name], rtol=2e-3, atol=2e-4)
