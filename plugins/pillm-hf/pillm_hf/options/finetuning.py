"""What every trainer is told: a base, a schedule, and loss on the answer only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

import pillm
from pillm_hf.fields import DEVICE_MAP, DTYPE, NOT_IN_KEY, REVISION
from pillm_hf.models.hub import describe, find_here, locate
from pillm_hf.models.precision import DType
from pillm_hf.options.distillation import Distillation
from pillm_hf.options.launcher import Launcher
from pillm_hf.options.quantization import QuantizationAware

Tracker: TypeAlias = Literal["tensorboard", "trackio", "mlflow", "wandb"]
Scheduler: TypeAlias = Literal["linear", "cosine", "constant", "constant_with_warmup"]


class FineTuning(pillm.Trainer):
    """The options of every trainer of this plugin, and what follows from them alone; the work is begun by `HFTrainer`."""

    base: str = Field(description="The student to start from: a folder, an installed name, or a hub id such as owner/name.")
    revision: str | None = REVISION
    dtype: DType = DTYPE
    device_map: str | None = DEVICE_MAP
    learning_rate: float = Field(2e-4, gt=0, le=1, description="Highest learning rate of AdamW.")
    num_train_epochs: int = Field(3, ge=1, description="How often each row is seen.")
    per_device_train_batch_size: int = Field(8, ge=1, description="Rows in one forward pass.")
    gradient_accumulation_steps: int = Field(1, ge=1, description="Forward passes per optimiser step, weighted by tokens.")
    max_length: int = Field(1024, ge=8, description="Longest conversation in tokens; longer rows are left out and counted.")
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    lr_scheduler_type: Scheduler = Field("cosine", description="How the learning rate falls after that.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW's decoupled weight decay; norms and biases are spared.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    seed: int | None = Field(None, ge=0, description="Seed of order, initial adapter and dropout; the run's where absent.")
    save_dtype: Literal["auto", "bfloat16", "float16"] = Field(
        "auto", description="16-bit format of the student; auto is the base's own, float16 rounds eight times finer."
    )
    gradient_checkpointing: bool | None = Field(
        None,
        description="Spend time instead of memory on activations; absent: where memory would not hold them.",
        json_schema_extra=NOT_IN_KEY,
    )
    eval_steps: int | None = Field(None, ge=1, description="Optimiser steps between two validations; absent: after each epoch.")
    early_stopping_patience: int | None = Field(
        None, ge=1, description="Stop after so many validations in a row that were no better; absent: never."
    )
    load_best_model_at_end: bool = Field(
        True,
        description="End with the weights of the best validation, not with the last; counts where there are validation rows.",
    )
    quantization_aware: QuantizationAware | None = Field(
        None,
        description="Take the last steps with weights rounded as a file of that type will hold them: {type: Q4_0, share: 0.5}.",
    )
    save_steps: int | None = Field(
        None,
        ge=1,
        description="Optimiser steps between two checkpoints to resume from; absent: every five minutes.",
        json_schema_extra=NOT_IN_KEY,
    )
    distill: Distillation | None = Field(
        None, description="Learn from the teacher's distributions too: {source: labels, weight: 0.5}; absent: from its words."
    )
    logging_steps: int = Field(
        10, ge=1, description="Optimiser steps between two entries of the log.", json_schema_extra=NOT_IN_KEY
    )
    token_cache: bool = Field(
        True,
        description="Keep texts and token ids of a thousand rows and more in the user's cache folder, for the next training.",
        json_schema_extra=NOT_IN_KEY,
    )
    report_to: list[Tracker] | None = Field(
        None,
        description="Experiment trackers that the log's figures are sent to as well; absent: none.",
        json_schema_extra=NOT_IN_KEY,
    )

    launcher: Launcher | None = Field(
        None, description="Train in several processes, on several machines; absent: in this one.", json_schema_extra=NOT_IN_KEY
    )

    @model_validator(mode="after")
    def _require_schedule(self) -> Self:
        """Refuse a warmup that the scheduler does not do; options written out whole hold the default, unasked."""
        unasked = (0, FineTuning.model_fields["warmup_ratio"].default)
        if self.lr_scheduler_type == "constant" and self.warmup_ratio not in unasked:
            raise ValueError(
                "warmup_ratio counts for nothing with lr_scheduler_type=constant. Leave it out, or choose constant_with_warmup"
            )
        return self

    @model_validator(mode="after")
    def _require_launchable(self) -> Self:
        """Refuse options that do not go together with several processes."""
        if self.launcher is None:
            return self
        if self.distill is not None:
            raise ValueError("distill learns in one process, and launcher starts several. Leave one of them out")
        if self.device_map not in (None, "cpu", "cuda"):
            raise ValueError(
                f"device_map={self.device_map} does not go with a launcher: each process has a GPU of its own. "
                "Leave device_map out, or set it to cpu"
            )
        if self.quantization_aware:
            raise ValueError(
                "quantization_aware does not go with a launcher: weights are rounded where they are whole, in one process. "
                "Leave one of them out"
            )
        if getattr(self, "load_in_4bit", False) and self.launcher.strategy != "ddp":
            raise ValueError(
                f"a base in 4 bit cannot be parted among processes, which strategy={self.launcher.strategy} does. "
                "Set launcher.strategy=ddp, or load_in_4bit=no"
            )
        if self.dtype == "float16" and self.launcher.strategy == "fsdp2":
            raise ValueError("float16 and its gradient scaling do not go with strategy=fsdp2. Set dtype=bfloat16 or ddp")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what the training depends on: the base's content in place of its path, and the options that matter."""
        kept = super().identity()
        kept.pop("revision", None)
        learnt = {"distill": self.distill.identity()} if self.distill else {}
        return {**kept, "base": locate(self.base, self.revision).identity, **learnt}

    def check_teacher(self, teacher: pillm.Teacher | None) -> None:
        """Raise ConfigError where this teacher cannot give what `distill` learns from."""
        if self.distill:
            self.distill.check_teacher(teacher, self.base, self.revision)

    def wants_stored(self) -> bool:
        """Say whether `distill` learns from what labelling stored."""
        return self.distill is not None and self.distill.source == "labels"

    def base_checkpoint(self, *, fetch: bool = True) -> pillm.Checkpoint | None:
        """Return the untrained student; it is downloaded first where it is not here, or without `fetch` None."""
        source = locate(self.base, self.revision) if fetch else find_here(self.base, self.revision)
        return source.checkpoint() if source else None

    def base_config(self) -> pillm.Checkpoint | None:
        """Return the base's folder; of a base that is not here its config.json alone is fetched."""
        return describe(self.base, self.revision).checkpoint()

    def check_prompts(self, prompts: Sequence[pillm.Prompt], contract: pillm.Contract) -> None:
        """Raise ConfigError where more than half of the prompts leave no room for an answer in `max_length` tokens."""
        source = find_here(self.base, self.revision)
        if source is not None:
            from pillm_hf.rows.prompts import check_lengths

            check_lengths(prompts, contract, source.fetch(), self.max_length)
