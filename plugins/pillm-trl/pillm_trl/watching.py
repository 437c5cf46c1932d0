"""What happens beside TRL's steps: progress is told, nonsense is stopped, checkpoints are asked for and sealed."""

from __future__ import annotations

import time
from typing import Any

import torch
from pillm_hf import Pace, most_bytes
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import pillm
from pillm_trl.learning import nonsense
from pillm_trl.resuming import Seals

FIGURES = {
    "loss": "loss", "learning_rate": "learning_rate", "rewards/accuracies": "rewards_accuracies",
    "rewards/margins": "rewards_margins", "rewards/chosen": "rewards_chosen", "rewards/rejected": "rewards_rejected",
}  # fmt: skip
"""What TRL logs of a step, and what it is called in the progress and in training.json."""
VALIDATED = {
    "eval_loss": "validation_loss", "eval_rewards/accuracies": "validation_rewards_accuracies",
    "eval_rewards/margins": "validation_rewards_margins",
}  # fmt: skip


class Watch(TrainerCallback):
    """Follows a training; `seconds` is what earlier runs of it took, and at last what all took."""

    def __init__(self, progress: pillm.Progress, seals: Seals, save_steps: int | None, seconds: float) -> None:
        self._progress, self._seals, self._pace, self.seconds = progress, seals, Pace(save_steps), seconds
        self._now = self._asked = time.monotonic()
        self._told = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Tell how many steps there are, and where a training that was killed goes on."""
        self._progress.start(state.max_steps, "steps")
        if state.global_step:
            self._progress.note(f"going on at step {state.global_step} of {state.max_steps}")
            self._progress.advance(state.global_step)
        self._told = state.global_step
        self._now = time.monotonic()
        self._pace.begin()

    def on_pre_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Raise BackendError where a gradient is no number; in float16 such steps are passed over, with a smaller scale."""
        gradients = [part.grad for part in more["model"].parameters() if part.grad is not None]
        if not args.fp16 and not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            raise nonsense("the gradient is no number", state.global_step + 1)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Ask for a checkpoint where it is time to, but within an epoch only: the validation at its end draws numbers too."""
        now = time.monotonic()
        self.seconds, self._now = self.seconds + now - self._now, now
        per_epoch = state.max_steps // int(args.num_train_epochs)
        control.should_log = control.should_log or state.global_step == state.max_steps
        if state.global_step % per_epoch:
            self._ask(state, control)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Ask for a checkpoint after the validation where it is time to, and at the end: a kill in the merge costs no step."""
        self._ask(state, control)

    def _ask(self, state: TrainerState, control: TrainerControl) -> None:
        self._asked = time.monotonic()
        due = self._pace.due(state.global_step)
        control.should_save = control.should_save or due or state.global_step == state.max_steps

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Seal the checkpoint that was written."""
        self._seals.put(state.global_step, self.seconds)
        self._pace.saved(self._asked)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **more: Any
    ) -> None:
        """Tell the figures of the steps since the last time, or of a validation."""
        if "loss" in logs:
            figures = renamed(logs, FIGURES)
            memory = most_bytes(args.device.type) / 2**30
            self._progress.advance(state.global_step - self._told, **figures, memory_gib=memory)
            self._told = state.global_step
        elif "eval_loss" in logs:
            self._progress.advance(0, **renamed(logs, VALIDATED))


def renamed(logs: dict[str, float], names: dict[str, str]) -> dict[str, float]:
    """Return what was logged of those figures, under our names."""
    return {ours: float(logs[theirs]) for theirs, ours in names.items() if theirs in logs}
