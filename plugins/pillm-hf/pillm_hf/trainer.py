"""The trainers `lora`, `dora`, `qlora` and `full`: their options. The work itself is in `training.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

import pillm
from pillm_hf.fields import DEVICE_MAP, DTYPE, NOT_IN_KEY, REVISION
from pillm_hf.hub import find_here, locate, require_model
from pillm_hf.precision import DType, require_device
from pillm_hf.presets import PRESETS, Preset
from pillm_hf.quantizing import require_bitsandbytes
from pillm_hf.vocabulary import file_hash

_OF_4_BIT = ("quant_type", "double_quant", "compute_dtype")
Scheduler: TypeAlias = Literal["linear", "cosine", "constant", "constant_with_warmup"]


class FineTuning(pillm.Trainer):
    """What every trainer of this plugin has: a base, a schedule, and loss on the answer only."""

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
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW's decoupled weight decay.")
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
    save_steps: int | None = Field(
        None,
        ge=1,
        description="Optimiser steps between two checkpoints to resume from; absent: every five minutes.",
        json_schema_extra=NOT_IN_KEY,
    )
    logging_steps: int = Field(
        10, ge=1, description="Optimiser steps between two entries of the log.", json_schema_extra=NOT_IN_KEY
    )

    def identity(self) -> dict[str, Any]:
        """Return what the training depends on: the base's content in place of its path, and the options that matter."""
        kept = super().identity()
        kept.pop("revision", None)
        return {**kept, "base": locate(self.base, self.revision).identity}

    def check(self) -> None:
        """Raise where there is no such base or no such GPU; the base is not downloaded."""
        require_model(self.base, self.revision)
        require_device(self.device_map)

    def base_checkpoint(self, *, fetch: bool = True) -> pillm.Checkpoint | None:
        """Return the untrained student; it is downloaded first where it is not here, or without `fetch` None."""
        source = locate(self.base, self.revision) if fetch else find_here(self.base, self.revision)
        return pillm.Checkpoint(path=source.fetch(), name=source.label) if source else None

    def check_prompts(self, prompts: Sequence[pillm.Prompt], contract: pillm.Contract) -> None:
        """Raise ConfigError where more than half of the prompts leave no room for an answer in `max_length` tokens."""
        source = find_here(self.base, self.revision)
        if source is not None:
            from pillm_hf.prompts import check_lengths

            check_lengths(prompts, contract, source.fetch(), self.max_length)

    def forecast(self, data: pillm.TrainingData) -> pillm.TrainingForecast | None:
        """Return what a training takes, three steps of it timed where it fits; None where the base is not here."""
        source = find_here(self.base, self.revision)
        if source is None:
            return None
        from pillm_hf.training import forecast

        return forecast(self, data, source.fetch())

    def train(self, data: pillm.TrainingData, out: Path, progress: pillm.Progress) -> None:
        """Train the student and write its folder.

        Raises DataError where no row can be trained on and BackendError where the loss or the merge fails.
        """
        from pillm_hf.training import train

        train(self, data, out, progress)


class LoRA(FineTuning):
    """Low-rank adapters on a frozen base, merged into a 16-bit checkpoint."""

    name: ClassVar[str] = "lora"

    preset: Preset | None = Field(None, description="A tested set of options for a GPU generation; options given beat it.")
    rank: int = Field(16, ge=1, le=1024, description="Rank of the adapters.")
    alpha: int = Field(32, ge=1, description="Adapters are scaled by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the adapters.")
    target_modules: Literal["all-linear"] | list[str] = Field(
        "all-linear", description="Which layers get an adapter: all-linear, or a list of names such as q_proj,v_proj."
    )
    use_dora: bool = Field(False, description="Learn each weight's magnitude apart from its direction (DoRA).")
    load_in_4bit: bool = Field(False, description="Hold the frozen base in 4 bit (QLoRA; needs bitsandbytes).")
    quant_type: Literal["nf4", "fp4"] = Field("nf4", description="The 4-bit number format.")
    double_quant: bool = Field(True, description="Quantise the 4-bit blocks' scales too.")
    compute_dtype: DType = Field("auto", description="Number format that 4-bit weights are multiplied in; auto follows dtype.")

    @model_validator(mode="wrap")
    @classmethod
    def _settle(cls, given: Any, make: ModelWrapValidatorHandler[Self]) -> Self:
        """Put a preset's options under the ones that are given; refuse those of 4-bit weights where there are none."""
        if not isinstance(given, dict):
            return make(given)
        preset = PRESETS.get(str(given.get("preset")), {})
        # a dtype that is given says what to compute in too
        made = make({**_without(("compute_dtype",) if "dtype" in given else (), preset), **given})
        if made.load_in_4bit:
            return made
        idle = [name for name in _OF_4_BIT if name in given and getattr(made, name) != cls.model_fields[name].default]
        if idle:
            raise ValueError(f"{', '.join(idle)} only counts with load_in_4bit=true. Leave it out, or hold the base in 4 bit")
        return make({**_without(_OF_4_BIT, preset), **given})

    @model_validator(mode="before")
    @classmethod
    def _read_names(cls, given: Any) -> Any:
        """Read "q_proj,v_proj" as a list of names, and the list that holds "all-linear" alone as that word."""
        names = given.get("target_modules") if isinstance(given, dict) else None
        if isinstance(names, str):
            names = [name.strip() for name in names.split(",") if name.strip()]
        if names is None:
            return given
        return {**given, "target_modules": "all-linear" if list(names) == ["all-linear"] else names}

    def check(self) -> None:
        """Raise where there is no such base or no such GPU, or nothing to hold weights in 4 bit with."""
        super().check()
        require_bitsandbytes("4bit" if self.load_in_4bit else "none")


def _without(names: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


class DoRA(LoRA):
    """LoRA that learns magnitude and direction apart."""

    name: ClassVar[str] = "dora"

    use_dora: bool = Field(True, description="Learn each weight's magnitude apart from its direction (DoRA).")


class QLoRA(LoRA):
    """LoRA on a base held in 4 bit; the merge is done in 16 bit."""

    name: ClassVar[str] = "qlora"

    load_in_4bit: bool = Field(True, description="Hold the frozen base in 4 bit (needs bitsandbytes).")


class Full(FineTuning):
    """All weights, in float32 with 16-bit products."""

    name: ClassVar[str] = "full"

    learning_rate: float = Field(2e-5, gt=0, le=1, description="Highest learning rate of AdamW.")
    embedding_learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Highest learning rate of the token embeddings and the output head; absent: learning_rate. "
        "A higher one teaches words that the base never wrote, and leaves what the base knows in place.",
    )
    init: Literal["base", "random"] = Field(
        "base", description="Start from the base's weights, or from scratch: weights drawn by the seed, in the base's shape."
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="Sizes that a student from scratch has other than the base: {hidden_size: 256, num_hidden_layers: 4}.",
    )
    keep_layers: int | list[int] | None = Field(
        None, description="Layers of the base to keep: their indices, or how many, spread from the first to the last."
    )
    trim_vocabulary: bool = Field(
        False, description="Keep only the tokens of the rows and what they are built of; any other text takes smaller pieces."
    )
    vocabulary_size: int | None = Field(
        None, ge=256, description="Fill a trimmed vocabulary up to so many tokens with the base's most common ones."
    )
    vocabulary_files: list[Path] = Field(
        default_factory=list, description="Texts or JSON lines whose tokens a trimmed vocabulary keeps too."
    )

    @field_validator("keep_layers", mode="before")
    @classmethod
    def _read_count(cls, given: Any) -> Any:
        """Read the text "4", which a command line splits into a list, as a number of layers."""
        return given[0] if isinstance(given, list) and len(given) == 1 and isinstance(given[0], str) else given

    @model_validator(mode="after")
    def _require_sense(self) -> Self:
        """Refuse options that nothing would come of."""
        if self.config and self.init != "random":
            raise ValueError("config only counts with init=random. Leave it out, or start from scratch")
        if self.keep_layers is not None and self.init == "random":
            raise ValueError("keep_layers keeps nothing with init=random. Set num_hidden_layers in config instead")
        if (self.vocabulary_size or self.vocabulary_files) and not self.trim_vocabulary:
            raise ValueError("vocabulary_size and vocabulary_files only count with trim_vocabulary=true. Set it too")
        return self

    @property
    def reshapes(self) -> bool:
        """Say whether what is trained is another student than the base as it stands."""
        return self.init == "random" or self.keep_layers is not None or self.trim_vocabulary

    def identity(self) -> dict[str, Any]:
        """Return what the training depends on; files of texts count by their content."""
        texts = [file_hash(path) for path in self.vocabulary_files]
        return super().identity() | ({"vocabulary_files": texts} if texts else {})

    def check(self) -> None:
        """Raise where there is no such base or no such GPU, or where the base cannot be made into such a student."""
        super().check()
        source = find_here(self.base, self.revision) if self.reshapes else None
        if source is not None:
            from pillm_hf.starting import require_possible

            require_possible(self, source.fetch())
