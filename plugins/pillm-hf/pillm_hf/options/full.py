"""The options of the trainer `full`: all weights, and students smaller than their base."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

import pillm
from pillm_hf.options.finetuning import FineTuning


class FullOptions(FineTuning):
    """What is started from where all weights are learnt: the base, a part of it, or its shape alone."""

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
        if self.trim_vocabulary and self.distill and not self.distill.cross_tokenizer:
            raise ValueError(
                "trim_vocabulary gives the student another tokenizer than its teacher's. Distil with cross_tokenizer"
            )
        return self

    @property
    def reshapes(self) -> bool:
        """Say whether what is trained is another student than the base as it stands."""
        return self.init == "random" or self.keep_layers is not None or self.trim_vocabulary

    def identity(self) -> dict[str, Any]:
        """Return what the training depends on; files of texts count by their content."""
        texts = [file_hash(path) for path in self.vocabulary_files]
        return super().identity() | ({"vocabulary_files": texts} if texts else {})


def file_hash(path: Path) -> str:
    """Return the sha256 of a file of texts; raise DataError where it cannot be read."""
    try:
        return pillm.sha256_file(path)
    except OSError as error:
        raise pillm.DataError(f"vocabulary_files: {path} cannot be read ({error}).") from error
