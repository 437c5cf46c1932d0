"""Train with TRL's SFTTrainer, in its own environment: python -m tests.benchmarks.fitting.trl_run MODEL SHORT ROWS HOW.

HOW is `defaults`, or `tuned`: no checkpointing of activations and no padding. Like pillm's run, it trains on the short rows
first, for the check of the losses, and then once on the rows that are timed.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from tests.benchmarks.fitting import settings
from tests.benchmarks.fitting.measuring import Watch
from tests.benchmarks.fitting.student import read_messages

# on a CPU its defaults already read the base as it is stored, in bfloat16, and multiply in bfloat16
HOW: dict[str, dict[str, Any]] = {
    "defaults": {},
    "tuned": {"gradient_checkpointing": False, "padding_free": True, "max_length": None},
}


class Steps(TrainerCallback):
    """Reads the trainer's log."""

    def __init__(self) -> None:
        self.watch, self.tokens = Watch(), 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Begin to measure: the model is loaded."""
        self.watch.start()

    def on_log(self, *_: Any, **told: Any) -> None:
        """Note a step; the log counts the tokens that are not padding."""
        logs = told["logs"]
        if "loss" in logs:
            self.watch.step(logs["loss"])
            self.tokens = int(logs["num_tokens"])


def train(model: str, rows: str, epochs: int, how: str) -> dict[str, Any]:
    """Train on every row and return what was measured."""
    steps = Steps()
    torch.manual_seed(settings.SEED)  # the adapter is drawn as pillm draws it
    with tempfile.TemporaryDirectory() as place:
        wanted = SFTConfig(
            output_dir=place,
            use_cpu=True,
            assistant_only_loss=True,
            learning_rate=settings.LEARNING_RATE,
            lr_scheduler_type="constant",
            num_train_epochs=epochs,
            per_device_train_batch_size=settings.BATCH,
            seed=settings.SEED,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **HOW[how],
        )
        SFTTrainer(
            model=model,
            args=wanted,
            train_dataset=Dataset.from_list([{"messages": messages} for messages in read_messages(Path(rows))]),
            peft_config=LoraConfig(
                r=settings.RANK, lora_alpha=settings.ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            callbacks=[steps],
        ).train()
    return {**steps.watch.stop(), "tokens": steps.tokens}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(settings.THREADS)
    found = train(sys.argv[1], sys.argv[2], settings.CHECKED_EPOCHS, sys.argv[4])
    print(json.dumps({"check": found, "timed": train(sys.argv[1], sys.argv[3], 1, sys.argv[4])}))
