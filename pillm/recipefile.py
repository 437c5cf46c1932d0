"""What a recipe file may say: its sections and keys, and a sentence for whatever does not fit them."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pillm.cards.card import Told
from pillm.choosing import Choosing
from pillm.errors import ConfigError, did_you_mean
from pillm.records import JSONObject

BackendTable = dict[str, Any]


class Section(BaseModel):
    """A part of a recipe: unknown keys are refused, text is read as its key wants it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        return {key: _plain(cls, key, value) for key, value in data.items()} if isinstance(data, dict) else data


def _plain(section: type[BaseModel], key: str, value: Any) -> Any:
    """Split text at commas where the key wants a list, and read "none" where it may be absent."""
    if not isinstance(value, str) or key not in section.model_fields:
        return value
    annotation = section.model_fields[key].annotation
    choices = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    if value.casefold() in ("none", "null") and type(None) in choices:
        return None
    if any(get_origin(choice) is list for choice in choices):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


class SplitSection(Section):
    """How many rows each side gets at least; whole groups go to one side."""

    test: int = Field(0, ge=0, description="Rows held out for scoring; nothing is ever tuned on them.")
    validation: int = Field(0, ge=0, description="Rows that training is watched with.")
    calibration: int = Field(0, ge=0, description="Rows that quantisation may be calibrated with.")
    by: Literal["group", "id"] = Field("group", description="What stays together: the rows' groups, or nothing.")


class LabelSection(Section):
    """How the teacher is asked."""

    attempts: int = Field(1, ge=1, le=20, description="Answers tried for a row until one satisfies its schema.")
    samples: int = Field(1, ge=1, le=64, description="Answers kept per row; one is chosen.")
    choose: Choosing = Field("first", description="How one of several accepted answers is chosen.")
    judge: BackendTable | None = Field(None, description="The teacher that compares answers where choose is judge.")
    repair: int = Field(0, ge=0, le=5, description="How often a refused answer is shown to the teacher with its error.")
    reasoning: Literal["keep", "strip"] | Annotated[int, Field(ge=1)] = Field(
        "strip", description="What becomes of the teacher's reasoning: keep trains it, or so many tokens of it."
    )
    max_cost: float | None = Field(None, ge=0, description="The most US dollars that labelling may spend, all runs together.")
    max_tokens: int | None = Field(None, ge=0, description="The most tokens that labelling may take, all runs together.")
    prices: str | None = Field(None, description="A prices.yaml with the prices of models, beside the recipe.")
    relabel: bool = Field(False, description="Ask the teacher also for rows that arrive answered.")
    schema_in_prompt: Literal["none", "text"] = Field("none", description="How teacher and student learn of a schema.")
    system: str | None = Field(None, description="A system message for every row that has none.")


class EvaluateSection(Section):
    """What is scored, by what."""

    metrics: list[str | BackendTable] = Field(["exact", "json", "schema", "fields"], description="Names of metrics, or tables.")
    sets: dict[str, str] = Field({}, description="Further sets, scored apart: name -> JSONL file, relative to the recipe.")
    max_rows: int | None = Field(None, ge=1, description="Score at most this many rows of each set.")


class BenchSection(Section):
    """What is timed."""

    pp: int = Field(512, ge=1, description="Prompt tokens of the prefill figure.")
    tg: int = Field(128, ge=1, description="Generated tokens of the decode figure.")
    repetitions: int = Field(3, ge=1, description="Runs; the median counts.")
    max_spread: float = Field(
        0.01, gt=0, le=1, description="The spread of prefill beyond which a measurement is void: no gate is judged by it."
    )


class TermsSection(Section):
    """Under what terms the result may be passed on; what is said here outweighs what cards and rows say."""

    license: str | None = Field(None, description="The licence of the result; none: its base's, where that is a free one.")
    base: str | None = Field(None, description="The licence of the base, as an SPDX id or the hub's.")
    teacher: str | None = Field(None, description="The licence or terms of the teacher's answers.")
    data: str | None = Field(None, description="The licence of the rows that name none.")
    accepted: list[Literal["base", "teacher", "data"]] = Field(
        [], description="Whose terms you have read and keep, where they are not simply free."
    )

    def told(self, recipe: str | None = None) -> Told:
        """Return it as a checkpoint carries it into its files; `recipe` is the hash of what makes them."""
        said = {"base": self.base, "teacher": self.teacher, "data": self.data}
        return Told(recipe=recipe, license=self.license, terms=said, accepted=tuple(self.accepted))


class RecipeFile(Section):
    """A pillm recipe: prompts, backends, splits, evaluation and gates of one run."""

    prompts: str = Field(description="JSONL file of rows, relative to the recipe.")
    seed: int = Field(0, description="Seed of the split and of training.")
    device: str | None = Field(
        None,
        description="Device that the result is planned for, such as pi4-4gb or this-machine; or a YAML file beside the recipe.",
    )
    split: SplitSection = SplitSection()
    label: LabelSection = LabelSection()
    filters: list[BackendTable] = Field([], description="Row filters, applied before anything is keyed, stored or sent.")
    teacher: BackendTable = Field(description="{use: NAME, option: value, ...}")
    trainer: BackendTable = Field(description="{use: NAME, option: value, ...}")
    exporter: BackendTable = Field(description="{use: NAME, option: value, ...}")
    runner: BackendTable = Field({"use": "local"}, description="Runs the exported files, and times them.")
    bench_runner: BackendTable | None = Field(
        None, description="Times the exported files instead, on `device` where one is named, e.g. a Pi; none: the runner does."
    )
    checkpoint_runner: BackendTable | None = Field(
        {"use": "hf"}, description="Runs the untrained base and the checkpoint; none: they are not scored."
    )
    evaluate: EvaluateSection = EvaluateSection()
    bench: BenchSection = BenchSection()
    terms: TermsSection = TermsSection()
    gates: dict[str, float | str | list[float | str]] = Field({}, description="What every shipped file must reach.")


def read_terms(said: Mapping[str, object]) -> TermsSection:
    """Return the checked keys of a recipe's `terms` alone; raise ConfigError with every fault in a sentence."""
    try:
        return TermsSection(**said)
    except ValidationError as error:
        raise ConfigError(
            " ".join(_sentence({**detail, "loc": ("terms", *detail["loc"])}) for detail in error.errors())
        ) from error


def read_recipe_file(data: JSONObject) -> RecipeFile:
    """Return the checked keys of a recipe; raise ConfigError with every fault in a sentence."""
    try:
        return RecipeFile(**data)
    except ValidationError as error:
        raise ConfigError(" ".join(_sentence(detail) for detail in error.errors())) from error
    except TypeError as error:
        raise ConfigError(f"a recipe's keys are words ({error}).") from error


def _sentence(detail: Any) -> str:
    place = ".".join(str(step) for step in detail["loc"])
    if detail["type"] == "extra_forbidden":
        section, _, name = place.rpartition(".")
        model = RecipeFile.model_fields[section].annotation if section in RecipeFile.model_fields else RecipeFile
        known = list(getattr(model, "model_fields", {}))
        return f"unknown key {place!r}.{did_you_mean(name, known)} Known here: {', '.join(known)}."
    if detail["type"] == "missing":
        return f"the key {place!r} is missing: {RecipeFile.model_fields[place].description or ''}"
    return f"{place}: {detail['msg']}, not {detail['input']!r}."
