"""The options of the trainer `easydistill`, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator
from pydantic.config import JsonDict

import pillm

FREE: JsonDict = {"key": False}
PYTHON: Any = Field(
    None, description="The Python that EasyDistill is installed for; absent: the one pillm runs on.", json_schema_extra=FREE
)
Launch: TypeAlias = Literal["auto", "direct", "accelerate", "cli"]

_RELABELLING = ("kd_black_box_api", "kd_black_box_local", "kd_white_box")
RESERVED = frozenset({
    "output_dir", "seed", "data_seed", "use_cpu", "save_strategy", "logging_nan_inf_filter", "disable_tqdm", "report_to",
    "save_safetensors", "packing", "dataset_kwargs", "push_to_hub",
})  # fmt: skip
"""Entries of the training block that decide where and whether a checkpoint appears, what is learnt, or who is told."""


class EasyDistillOptions(pillm.Trainer):
    """What EasyDistill learns, on which base, and how."""

    base: str = Field(description="The student to start from: a folder, an installed name, or a hub id such as owner/name.")
    revision: str | None = Field(None, description="Branch, tag or commit of a hub id; the default branch where absent.")
    python: str | None = PYTHON
    job_type: Literal["kd_black_box_train_only", "kd_white_box_train_only"] = Field(
        "kd_black_box_train_only",
        description="EasyDistill's job: learn the answers, or a teacher's distributions with them.",
    )
    teacher: str | None = Field(
        None, description="The teacher of kd_white_box_train_only, of the base's own tokenizer: a folder, a name or a hub id."
    )
    kd_ratio: float = Field(0.1, ge=0, le=1, description="Weight of the teacher's distributions in the loss.")
    top_logits_num: int = Field(10, ge=1, le=1000, description="How many of the teacher's most likely tokens are learnt.")
    launch: Launch = Field(
        "auto",
        description="How it is started: direct (one process), accelerate (one per GPU), cli (EasyDistill's own command); auto "
        "is direct without a GPU.",
        json_schema_extra=FREE,
    )
    accelerate_config: Path | None = Field(
        None, description="A configuration file for accelerate; absent: data parallel on every GPU.", json_schema_extra=FREE
    )
    learning_rate: float = Field(2e-5, gt=0, le=1, description="Highest learning rate of AdamW.")
    num_train_epochs: int = Field(3, ge=1, description="How often each row is seen.")
    per_device_train_batch_size: int = Field(1, ge=1, description="Rows in one forward pass.")
    gradient_accumulation_steps: int = Field(8, ge=1, description="Forward passes per optimiser step.")
    max_length: int = Field(1024, ge=8, description="Longest conversation in tokens; longer rows are left out and counted.")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "cosine", description="How the learning rate falls after that."
    )
    weight_decay: float = Field(0.05, ge=0, le=1, description="AdamW's decoupled weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    seed: int | None = Field(None, ge=0, description="Seed of order and dropout; the run's where absent.")
    bf16: bool = Field(False, description="Multiply in bfloat16; the weights stay in float32.")
    save_dtype: Literal["auto", "bfloat16", "float16"] = Field(
        "auto", description="16-bit format of the student; auto is the base's own, float16 rounds eight times finer."
    )
    completion_only_loss: bool = Field(
        True, description="Learn the answer only; no: the whole conversation, as EasyDistill does."
    )
    gradient_checkpointing: bool = Field(
        False, description="Spend time instead of memory on activations.", json_schema_extra=FREE
    )
    logging_steps: int = Field(10, ge=1, description="Optimiser steps between two entries of the log.", json_schema_extra=FREE)
    training: dict[str, Any] = Field(
        default_factory=dict, description="Further entries of EasyDistill's training block, as TRL's SFTConfig names them."
    )

    @field_validator("job_type", mode="before")
    @classmethod
    def _no_relabelling(cls, value: Any) -> Any:
        if value in _RELABELLING:
            raise ValueError(
                f"{value} would label the rows again. They are labelled: choose kd_black_box_train_only, or "
                "kd_white_box_train_only with a teacher of the same tokenizer"
            )
        return value

    @field_validator("training")
    @classmethod
    def _only_further_ones(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = sorted((set(cls.model_fields) | RESERVED) & set(value))
        if taken:
            raise ValueError(f"{', '.join(taken)} of the training block cannot be set there: it is an option, or pillm sets it")
        return value

    @property
    def white(self) -> bool:
        """Say whether a teacher's distributions are learnt too."""
        return self.job_type == "kd_white_box_train_only"

    @model_validator(mode="after")
    def _one_row_a_step(self) -> Self:
        """Refuse what version 1 would look the wrong row's probabilities up with: it takes the optimiser step for the row."""
        if self.white != (self.teacher is not None):
            raise ValueError("kd_white_box_train_only needs a teacher, and kd_black_box_train_only takes none")
        sizes = self.per_device_train_batch_size, self.gradient_accumulation_steps
        if self.white and (sizes != (1, 1) or self.launch not in ("auto", "direct") or not self.completion_only_loss):
            raise ValueError(
                "kd_white_box_train_only needs per_device_train_batch_size=1, gradient_accumulation_steps=1, launch=direct and "
                "completion_only_loss: EasyDistill 1 looks a row's probabilities up by the number of the optimiser step"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return what the training depends on: the base's content in place of its path, and the options that matter."""
        from pillm_easydistill import student

        kept = super().identity()
        kept.pop("revision", None)
        named = {"teacher": student.identity(self.teacher, None)} if self.teacher else {}
        return {**kept, **named, "base": student.identity(self.base, self.revision)}

    def base_checkpoint(self, *, fetch: bool = True) -> pillm.Checkpoint | None:
        """Return the untrained student; it is downloaded first where it is not here, or without `fetch` None."""
        from pillm_easydistill import student

        return student.untrained(self.base, self.revision, fetch=fetch)

    def base_config(self) -> pillm.Checkpoint | None:
        """Return the base's folder; of a base that is not here its config.json alone is fetched."""
        from pillm_easydistill import student

        return student.described(self.base, self.revision)

    def check_prompts(self, prompts: Sequence[pillm.Prompt], contract: pillm.Contract) -> None:
        """Raise ConfigError where more than half of the prompts leave no room for an answer in `max_length` tokens."""
        from pillm_easydistill import student

        student.check_lengths(self.base, self.revision, prompts, contract, self.max_length)
