"""Train with pillm's trainer `lora`: python -m tests.benchmarks.fitting.pillm_run MODEL SHORT ROWS.

It trains on the short rows first, for the check of the losses, and then once on the rows that are timed.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import pillm
from tests.benchmarks.fitting import settings
from tests.benchmarks.fitting.measuring import Watch


class Enough(BaseException):
    """Ends a run after its last step: merging and saving are not measured."""


class Steps:
    """Reads the trainer's progress."""

    def __init__(self) -> None:
        self.watch = Watch()

    def __call__(self, event: pillm.Event) -> None:
        if event.unit != "steps":
            return
        if event.kind == "start":
            self.watch.start()
        elif "loss" in event.figures:
            self.watch.step(event.figures["loss"])
            if event.done == event.total:
                raise Enough


def train(model: str, rows: str, epochs: int) -> dict[str, Any]:
    """Train on every row and return what was measured."""
    steps = Steps()
    trainer = pillm.trainer(
        "lora",
        base=model,
        rank=settings.RANK,
        alpha=settings.ALPHA,
        learning_rate=settings.LEARNING_RATE,
        lr_scheduler_type="constant",
        warmup_ratio=0.0,
        num_train_epochs=epochs,
        per_device_train_batch_size=settings.BATCH,
        logging_steps=1,
    )
    with tempfile.TemporaryDirectory() as place:
        (nothing := Path(place) / "nothing.jsonl").touch()
        (out := Path(place) / "out").mkdir()
        none = pillm.Rows(nothing)
        data = pillm.TrainingData(train=pillm.Rows(Path(rows)), validation=none, calibration=none, seed=settings.SEED)
        try:
            trainer.train(data, out, pillm.Progress("train", (steps,)))
        except Enough:
            return steps.watch.stop()
    raise RuntimeError("the trainer never said that its last step was done")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(settings.THREADS)
    check = train(sys.argv[1], sys.argv[2], settings.CHECKED_EPOCHS)
    print(json.dumps({"check": check, "timed": train(sys.argv[1], sys.argv[3], 1)}))
