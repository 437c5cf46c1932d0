"""What a task file may say: how the rows of a table become prompts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError, model_validator

from pillm.errors import ConfigError, did_you_mean
from pillm.records import JSONObject

Words = Annotated[str, StringConstraints(min_length=1)]


class _Part(BaseModel):
    """A part of a task file: unknown keys are refused, a number is not taken for a text."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class Bounds(_Part):
    """The values of a numeric column with which a row is used, both ends included."""

    min: float | None = Field(None, allow_inf_nan=False, description="The least value.")
    max: float | None = Field(None, allow_inf_nan=False, description="The greatest value.")

    @model_validator(mode="after")
    def _some(self) -> Bounds:
        if self.min is None and self.max is None:
            raise ValueError("say min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}, so no row would be used")
        return self

    def refusal(self, value: float) -> str | None:
        """Return how a value is out of bounds, or None where it is not."""
        if self.min is not None and value < self.min:
            return f"below {self.min:g}"
        return f"above {self.max:g}" if self.max is not None and value > self.max else None


class Shot(_Part):
    """One worked example: what would be asked, and the answer to it."""

    input: Words | dict[str, JsonValue] = Field(description="Columns for the template `input`, or the text itself.")
    output: Words | dict[str, JsonValue] | list[JsonValue] = Field(description="The answer; a table or a list as JSON.")


class TaskFile(_Part):
    """A pillm task: instructions, examples and a template that turn the rows of a table into prompts."""

    name: Words = Field(description="Names the task; its prompts carry it in their metadata.")
    description: str = Field("", description="What it is for, for people.")
    system: str | None = Field(None, description="The system message. A template, as all that follows with {{ }}.")
    instructions: str | None = Field(None, description="Stands before the first input, examples included. A template.")
    input: Words = Field(description="What is asked of one row: a Jinja template over its columns.")
    examples: list[Shot] = Field([], max_length=100, description="Worked examples, as turns before the question.")
    answer_schema: Words | dict[str, JsonValue] | None = Field(
        None, alias="schema", description="A JSON Schema that answers must satisfy, or its name."
    )
    tools: list[dict[str, JsonValue]] = Field([], description="Tools that the model may call, in OpenAI's form.")
    generation: dict[Words, str | int | float | bool | None] = Field(
        {}, description="Options that the teacher of this task is to be given, e.g. temperature."
    )
    where: dict[Words, Bounds] = Field({}, description="Bounds on numeric columns: rows outside them are left out and counted.")
    each: Words | None = Field(None, description="A column that holds a list: one prompt for each `item` of it.")
    at_most: int | None = Field(None, ge=1, description="With `each`: the most prompts made of one row.")
    id: Words | None = Field(None, description="The prompt's id, unique; by default made of its content. A template.")
    reference: Words | None = Field(None, description="The true answer; trainers never see it. A template.")
    answer: Words | None = Field(None, description="An answer that the row brings with it: no teacher is asked. A template.")
    reasoning: Words | None = Field(None, description="With `answer`: the thoughts that led to it. A template.")
    group: Words | None = Field(None, description="Rows of one group stay on one side of a split. A template.")
    split: Words | None = Field(None, description="train, validation, calibration or test. A template.")
    language: Words | None = Field(None, description="The language as a BCP 47 tag. A template.")
    source: Words | None = Field(None, description="Where the row comes from; by default the table. A template.")
    license: Words | None = Field(None, description="The licence of its text, as an SPDX identifier. A template.")
    tags: list[Words] = Field([], description="Words that scores are also given for. Templates; empty ones are left out.")
    keep: list[Words] = Field([], description="Columns that the prompt's metadata keeps.")

    @model_validator(mode="after")
    def _together(self) -> TaskFile:
        for needed, name in (("each", "at_most"), ("answer", "reasoning")):
            if getattr(self, name) is not None and getattr(self, needed) is None:
                raise ValueError(f"{name!r} needs {needed!r}")
        return self


TEMPLATES = ("system", "instructions", "input", "id", "reference", "answer", "reasoning",
             "group", "split", "language", "source", "license")  # fmt: skip
"""The keys that are one template each."""
_CHOICES = ("str", "int", "float", "bool", "constrained-str")
"""How pydantic names the branches of a choice: no part of a place in the file."""


def read_task_file(data: JSONObject) -> TaskFile:
    """Return the checked keys of a task file; raise ConfigError with every fault in a sentence."""
    try:
        return TaskFile.model_validate(data)
    except ValidationError as error:
        raise ConfigError(" ".join(dict.fromkeys(_sentences(error)))) from error


def _sentences(error: ValidationError) -> Iterator[str]:
    for detail in error.errors():
        steps = [str(step) for step in detail["loc"]]
        place = ".".join(step for step in steps if "[" not in step and step not in _CHOICES)
        if detail["type"] == "extra_forbidden":
            known = [field.alias or name for name, field in _part(steps).model_fields.items()]
            yield f"unknown key {place!r}.{did_you_mean(steps[-1], known)} Known here: {', '.join(known)}."
        elif detail["type"] == "missing":
            yield f"the key {place!r} is missing: {_part(steps).model_fields[steps[-1]].description}"
        else:
            about = f"{place}: " if place else ""
            said = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
            found = "" if detail["type"] == "value_error" else f", not {detail['input']!r:.80}"
            yield f"{about}{said}{found}."


def _part(steps: list[str]) -> type[BaseModel]:
    """Return the part of the file in which a place lies."""
    parts: dict[str, type[BaseModel]] = {"where": Bounds, "examples": Shot}
    return parts.get(steps[0], TaskFile) if len(steps) > 1 else TaskFile
