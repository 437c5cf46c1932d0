"""The option `distill`: learn from a teacher's distributions, not from its words alone."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

import pillm
from pillm_hf.fields import REVISION
from pillm_hf.models.hub import find_here, locate, require_model

OTHER_TOKENIZER = (
    "Use sequence-level labels (no distillation of logits), or the cross-tokenizer option (universal logit distillation)."
)
_ALIKE = ("divergence", "temperature", "beta")


class Distillation(BaseModel):
    """What is learnt beside the labels: from whom, by which measure, and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["labels", "teacher", "student"] = Field(
        "labels",
        description="labels: the log-probabilities stored at labelling; teacher: a teacher scores the rows; "
        "student: the student answers, the teacher scores what it wrote.",
    )
    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = Field(
        "forward_kl", description="KL(teacher, student), KL(student, teacher), or the generalised Jensen-Shannon divergence."
    )
    temperature: float = Field(1.0, gt=0, le=20, description="Both sides are softened by it.")
    beta: float = Field(0.5, gt=0, lt=1, description="The teacher's share in the mixture that jsd compares with.")
    weight: float = Field(
        0.5, gt=0, le=1, description="Share of the divergence in the loss; the rest is cross-entropy on the labels."
    )
    k: int | None = Field(
        None, ge=1, le=1024, description="Most likely tokens that are kept of each distribution; absent: all that are known."
    )
    draws: int = Field(
        0, ge=0, le=255, description="Tokens drawn beside those k, so that what is kept is unbiased; only a teacher can draw."
    )
    teacher: str | None = Field(
        None, description="The teacher's model: a folder, an installed name or a hub id; absent: the run's own `hf` teacher."
    )
    revision: str | None = REVISION
    on_policy_share: float = Field(0.5, gt=0, le=1, description="Share of the steps in which the student answers itself.")
    max_new_tokens: int = Field(128, ge=1, description="Longest answer of the student's own, in tokens.")
    sampling_temperature: float = Field(1.0, gt=0, le=10, description="How boldly the student draws its own answers.")
    cross_tokenizer: bool = Field(
        False, description="Learn from a teacher with another tokenizer: ranks are compared where both wrote the same text."
    )

    @model_validator(mode="after")
    def _require_sense(self) -> Self:
        """Refuse options that nothing would come of."""
        given = {name for name in type(self).model_fields if getattr(self, name) != type(self).model_fields[name].default}
        if "beta" in given and self.divergence != "jsd":
            raise ValueError("beta only counts with divergence=jsd. Leave it out, or choose jsd")
        if self.draws and self.source == "labels":
            raise ValueError("draws need a teacher at hand: labels hold the most likely tokens only. Set source=teacher")
        if self.draws and (self.divergence != "forward_kl" or self.temperature != 1):
            raise ValueError("draws serve forward_kl at temperature 1 alone. Leave them out, or the other options")
        if self.source == "student" and given & {"k", "draws"}:
            raise ValueError("k and draws keep distributions for later; of source=student none is kept. Leave them out")
        own = given & {"on_policy_share", "max_new_tokens", "sampling_temperature"}
        if own and self.source != "student":
            raise ValueError(f"{', '.join(sorted(own))} only count with source=student. Leave them out, or choose it")
        if self.teacher is not None and not self.needs_model:
            raise ValueError("labels carry their distributions with them: no teacher's model is read. Leave `teacher` out")
        if self.revision is not None and self.teacher is None:
            raise ValueError("revision says which version of `teacher` is meant. Name the teacher too")
        if self.cross_tokenizer and (self.source == "student" or self.draws or given & set(_ALIKE)):
            raise ValueError(
                "cross_tokenizer compares ranks on the rows' own answers: source=student, draws, divergence, temperature and "
                "beta do not go with it. Leave them out"
            )
        return self

    @property
    def needs_model(self) -> bool:
        """Say whether a teacher's model, or at least its tokenizer, is needed besides what labels hold."""
        return self.source != "labels" or self.cross_tokenizer

    @property
    def ahead(self) -> bool:
        """Say whether distributions are kept on disk before the training starts."""
        return self.source == "labels" or (self.source == "teacher" and bool(self.k or self.draws or self.cross_tokenizer))

    def identity(self) -> dict[str, Any]:
        """Return what results depend on: options that are not at their default, and the teacher's content for its path."""
        kept = self.model_dump(mode="json", exclude_defaults=True, exclude={"teacher", "revision"})
        return {**kept, "teacher": locate(self.teacher, self.revision).identity} if self.teacher else kept

    def check(self) -> None:
        """Raise where there is no such teacher; nothing is downloaded."""
        if self.teacher is not None:
            require_model(self.teacher, self.revision)

    def check_teacher(self, teacher: pillm.Teacher | None, base: str, revision: str | None) -> None:
        """Raise ConfigError where the run's teacher, or the one named, cannot give what these options learn from."""
        if self.source == "labels" and getattr(teacher, "logprobs", None) == 0:
            raise pillm.ConfigError(
                "distill learns from stored log-probabilities, and the teacher's option logprobs is 0: none would be stored. "
                "Set the teacher's logprobs=16 or more, or distill.source=teacher."
            )
        if not self.needs_model and self.teacher is None and not hasattr(teacher, "model_source"):
            return
        model = self.model_of(teacher)
        folders = [source.folder for source in (find_here(*model), find_here(base, revision)) if source is not None]
        files = [folder / "tokenizer.json" for folder in folders if folder is not None]
        known = len(files) == 2 and all(path.is_file() for path in files)
        if known and not self.cross_tokenizer and len({pillm.tokenizer_hash(path) for path in files}) > 1:
            raise pillm.ConfigError(other_tokenizer(model[0], base))

    def model_of(self, teacher: pillm.Teacher | None) -> tuple[str, str | None]:
        """Return the teacher's model and revision; raise ConfigError where neither options nor run name one."""
        if self.teacher is not None:
            return self.teacher, self.revision
        found: tuple[str, str | None] | None = getattr(teacher, "model_source", None)
        if found is None:
            wanted = "cross_tokenizer needs the teacher's tokenizer" if self.source == "labels" else f"source={self.source}"
            raise pillm.ConfigError(
                f"distill: {wanted}, and there is no teacher `hf` in this run whose model could serve. "
                "Set distill.teacher to a model's folder, name or hub id."
            )
        return found


def other_tokenizer(teacher: str, base: str) -> str:
    """Return what to say of two models with different tokenizers."""
    return f"the teacher {teacher} has another tokenizer than the student {base}. {OTHER_TOKENIZER}"
