"""TRL's DPOTrainer on pairs that are token ids already. Imported when a training starts, for it imports torch and TRL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from pillm_hf import default_device
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer

import pillm
from pillm_trl.options import DPOOptions
from pillm_trl.pairs import Pair


class Learner(DPOTrainer):
    """Learns from pairs as they are: nothing is rendered, tokenised, cut, reported or published."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """Take the ids as they are: TRL would render the conversations a second time, and end them otherwise."""
        return dataset

    def _send_telemetry(self) -> None:
        """Tell nobody."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write no card: the student's own comes from pillm."""

    def settle(self, dropout: float) -> None:
        """Undo what TRL does to a model and its console that is not asked for.

        It copies given adapters as its reference: these begin at nothing, so the base without them is the same and costs
        no memory. It turns all dropout off: the base's is not wanted, the adapters' is an option. It prints what it logs.
        """
        self.remove_callback(PrinterCallback)
        if "ref" in getattr(self.model, "peft_config", {}):
            self.model.delete_adapter("ref")
        for name, module in self.model.named_modules():
            if "lora_dropout" in name and isinstance(module, torch.nn.Dropout):
                module.p = dropout

    def training_step(self, *given: Any, **named: Any) -> torch.Tensor:
        """Return the loss of a pass; raise BackendError where it is no number, before any weight is changed by it."""
        loss: torch.Tensor = super().training_step(*given, **named)
        if not torch.isfinite(loss):
            raise nonsense(f"the loss is {float(loss)}", self.state.global_step + 1)
        return loss


def nonsense(what: str, step: int) -> pillm.BackendError:
    """Return the error that stops a training before a step that would ruin the weights."""
    return pillm.BackendError(
        f"{what} at step {step}; the step was not taken, and what was saved before it is kept. "
        "Lower learning_rate or max_grad_norm, or set dtype=float32, and train again."
    )


def table(pairs: Sequence[Pair]) -> Dataset:
    """Return the pairs under the names that TRL's collator reads."""
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return Dataset.from_dict({name: [getattr(pair, name) for pair in pairs] for name in names})


def configuration(options: DPOOptions, dtype: torch.dtype, seed: int, folder: Path, *, watched: bool) -> DPOConfig:
    """Return TRL's configuration for these options: saving and reporting are left to the callbacks."""
    on_cpu = (options.device_map or default_device()) == "cpu"
    named = ("beta", "loss_type", "loss_weights", "label_smoothing", "num_train_epochs", "per_device_train_batch_size",
             "gradient_accumulation_steps", "lr_scheduler_type", "weight_decay", "max_grad_norm", "precompute_ref_log_probs",
             "gradient_checkpointing", "logging_steps")  # fmt: skip
    config = DPOConfig(
        output_dir=str(folder),
        **{name: getattr(options, name) for name in named},
        learning_rate=options.highest_rate,
        warmup_steps=options.warmup_ratio,  # below 1 it is a share
        per_device_eval_batch_size=options.per_device_train_batch_size,
        eval_strategy="epoch" if watched else "no",
        max_length=None,  # what is too long was left out; TRL would cut it
        seed=seed,
        optim="adamw_torch",
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        logging_nan_inf_filter=False,
        gradient_checkpointing_kwargs={"use_reentrant": False} if options.gradient_checkpointing else None,
    )
    config._n_gpu = min(config.n_gpu, 1)  # several visible GPUs would be taken for one trainer of threads
    return config
