"""The options of the trainer `dpo`, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self, TypeAlias

from pillm_hf import DTYPE, NOT_IN_KEY, REVISION, DType, Full, LoRA, Scheduler
from pydantic import Field, field_validator, model_validator

import pillm

Loss: TypeAlias = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero",
    "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip
_SMOOTHED = frozenset({"robust", "exo_pair", "aot", "aot_unpaired"})
_OF_ADAPTERS = ("rank", "alpha", "dropout", "target_modules")
_RATES = {True: 5e-5, False: 5e-6}


class DPOOptions(pillm.Trainer):
    """What is learnt of preferences, on which base, and how."""

    base: str = Field(description="The student to start from: a folder, an installed name, or a hub id such as owner/name.")
    revision: str | None = REVISION
    dtype: DType = DTYPE
    device_map: Literal["cpu", "cuda"] | None = Field(
        None, description="Where to train: cpu, or cuda for the first GPU that is visible.", json_schema_extra=NOT_IN_KEY
    )
    adapter: bool = Field(True, description="Learn low-rank adapters on a frozen base; no: all weights.")
    rank: int = Field(16, ge=1, le=1024, description="Rank of the adapters.")
    alpha: int = Field(32, ge=1, description="Adapters are scaled by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the adapters.")
    target_modules: Literal["all-linear"] | list[str] = Field(
        "all-linear", description="Which layers get an adapter: all-linear, or a list of names such as q_proj,v_proj."
    )
    beta: float = Field(
        0.1, gt=0, description="How near the student stays to its base: more is nearer. The regularisation τ of loss ipo."
    )
    loss_type: list[Loss] = Field(
        ["sigmoid"], min_length=1, description="What is minimised, as TRL names it; several are added."
    )
    loss_weights: list[float] | None = Field(None, description="A weight for each loss_type; absent: 1 for each.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Share of the preferences taken to be wrong, in the losses robust, exo_pair and aot."
    )
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="Highest learning rate of AdamW; absent: 5e-5 for adapters, 5e-6 for all weights."
    )
    num_train_epochs: int = Field(1, ge=1, description="How often each pair is seen.")
    per_device_train_batch_size: int = Field(4, ge=1, description="Pairs in one forward pass, which reads both answers.")
    gradient_accumulation_steps: int = Field(2, ge=1, description="Forward passes per optimiser step.")
    max_length: int = Field(1024, ge=8, description="Longest conversation in tokens; longer pairs are left out and counted.")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    lr_scheduler_type: Scheduler = Field("linear", description="How the learning rate falls after that.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW's decoupled weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    seed: int | None = Field(None, ge=0, description="Seed of order, initial adapter and dropout; the run's where absent.")
    save_dtype: Literal["auto", "bfloat16", "float16"] = Field(
        "auto", description="16-bit format of the student; auto is the base's own, float16 rounds eight times finer."
    )
    precompute_ref_log_probs: bool = Field(
        False, description="Ask the base about all pairs before training: with all weights this holds one model less in memory."
    )
    gradient_checkpointing: bool = Field(
        False, description="Spend time instead of memory on activations.", json_schema_extra=NOT_IN_KEY
    )
    save_steps: int | None = Field(
        None,
        ge=1,
        description="Optimiser steps between two checkpoints to resume from; absent: every five minutes.",
        json_schema_extra=NOT_IN_KEY,
    )
    logging_steps: int = Field(
        10, ge=1, description="Optimiser steps between two entries of the log.", json_schema_extra=NOT_IN_KEY
    )

    @field_validator("loss_type", "target_modules", mode="before")
    @classmethod
    def _read_names(cls, given: Any) -> Any:
        """Read "q_proj,v_proj" as a list of names, and the list that holds "all-linear" alone as that word."""
        if isinstance(given, str) and given != "all-linear":
            return [name.strip() for name in given.split(",") if name.strip()]
        return "all-linear" if given == ["all-linear"] else given

    @model_validator(mode="after")
    def _require_sense(self) -> Self:
        """Refuse options that nothing would come of."""
        idle = [name for name in _OF_ADAPTERS if getattr(self, name) != type(self).model_fields[name].default]
        if idle and not self.adapter:
            raise ValueError(f"{', '.join(idle)} only counts with adapter=true. Leave it out, or learn adapters")
        if self.label_smoothing and not _SMOOTHED & set(self.loss_type):
            raise ValueError(f"label_smoothing only counts with loss_type {', '.join(sorted(_SMOOTHED))}. Leave it out")
        if "exo_pair" in self.loss_type and not self.label_smoothing:
            raise ValueError("loss_type exo_pair needs a label_smoothing above 0, such as 0.001")
        if self.loss_weights is not None and len(self.loss_weights) != len(self.loss_type):
            raise ValueError(f"loss_weights must have one number for each loss_type: {len(self.loss_type)}")
        return self

    @property
    def student(self) -> LoRA | Full:
        """Return the trainer of pillm-hf that starts from the same base, and so knows how to load, merge and store it."""
        shared = {name: getattr(self, name) for name in ("base", "revision", "dtype", "device_map", "max_length", "save_dtype")}
        adapters = {name: getattr(self, name) for name in _OF_ADAPTERS}
        return LoRA(**shared, **adapters) if self.adapter else Full(**shared)

    @property
    def highest_rate(self) -> float:
        """Return the highest learning rate."""
        return _RATES[self.adapter] if self.learning_rate is None else self.learning_rate

    def identity(self) -> dict[str, Any]:
        """Return what the training depends on: the base's content in place of its path, and the options that matter."""
        kept = super().identity()
        kept.pop("revision", None)
        return {**kept, "base": self.student.identity()["base"]}

    def check(self) -> None:
        """Raise where there is no such base or no such GPU; the base is not downloaded."""
        self.student.check()

    def base_checkpoint(self, *, fetch: bool = True) -> pillm.Checkpoint | None:
        """Return the untrained student; it is downloaded first where it is not here, or without `fetch` None."""
        return self.student.base_checkpoint(fetch=fetch)

    def base_config(self) -> pillm.Checkpoint | None:
        """Return the base's folder; of a base that is not here its config.json alone is fetched."""
        return self.student.base_config()

    def check_prompts(self, prompts: Sequence[pillm.Prompt], contract: pillm.Contract) -> None:
        """Raise ConfigError where more than half of the prompts leave no room for an answer in `max_length` tokens."""
        self.student.check_prompts(prompts, contract)
