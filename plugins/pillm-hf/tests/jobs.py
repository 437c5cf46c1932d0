"""Trainings of tiny students, for the tests of more than one module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pillm

FAST = {"num_train_epochs": 2, "per_device_train_batch_size": 10, "learning_rate": 5e-3, "rank": 4, "logging_steps": 1}


def events() -> tuple[list[pillm.Event], pillm.Progress]:
    seen: list[pillm.Event] = []
    return seen, pillm.Progress("train", (seen.append,))


def train(trainer: pillm.Trainer, data: pillm.TrainingData, out: Path) -> tuple[dict[str, Any], list[pillm.Event]]:
    seen, progress = events()
    out.mkdir(exist_ok=True)
    trainer.train(data, out, progress)
    return json.loads((out / "training.json").read_text("utf-8")), seen


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
