"""A pipeline in one YAML file: `use:` names a backend, every other key of its table is one of its options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pillm.artifacts import BenchPlan
from pillm.backends import Exporter, Filter, Metric, Runner, Teacher, Trainer
from pillm.contract import Contract
from pillm.errors import ConfigError, did_you_mean
from pillm.gates import Gate, parse_gates
from pillm.options import parse_assignments
from pillm.plugins import build
from pillm.records import JSONObject
from pillm.yamlfile import parse_yaml

BackendTable = dict[str, Any]


class Section(BaseModel):
    """A part of a recipe: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitSection(Section):
    """How many rows each side gets at least; whole groups go to one side."""

    test: int = Field(0, ge=0, description="Rows held out for scoring; nothing is ever tuned on them.")
    validation: int = Field(0, ge=0, description="Rows that training is watched with.")
    calibration: int = Field(0, ge=0, description="Rows that quantisation may be calibrated with.")
    by: Literal["group", "id"] = Field("group", description="What stays together: the rows' groups, or nothing.")


class LabelSection(Section):
    """How the teacher is asked."""

    attempts: int = Field(1, ge=1, le=20, description="Answers tried for a row until one satisfies its schema.")
    relabel: bool = Field(False, description="Ask the teacher also for rows that arrive answered.")
    schema_in_prompt: Literal["none", "text", "tools"] = Field("none", description="How teacher and student learn of a schema.")
    system: str | None = Field(None, description="A system message for every row that has none.")


class EvaluateSection(Section):
    """What is scored, by what."""

    metrics: list[str | BackendTable] = Field(["exact", "json", "schema", "fields"], description="Names of metrics, or tables.")
    sets: dict[str, str] = Field({}, description="Further sets of rows, scored apart: name -> JSONL file.")
    max_rows: int | None = Field(None, ge=1, description="Score at most this many rows of each set.")


class BenchSection(Section):
    """What is timed."""

    pp: int = Field(512, ge=1, description="Prompt tokens of the prefill figure.")
    tg: int = Field(128, ge=1, description="Generated tokens of the decode figure.")
    repetitions: int = Field(3, ge=1, description="Runs; the median counts.")


class RecipeFile(Section):
    """A pillm recipe: prompts, backends, splits, evaluation and gates of one run."""

    prompts: str = Field(description="JSONL file of rows, relative to the recipe.")
    seed: int = Field(0, description="Seed of the split and of training.")
    device: str | None = Field(None, description="Device profile that the result is planned for, e.g. pi4-4gb.")
    split: SplitSection = SplitSection()
    label: LabelSection = LabelSection()
    filters: list[BackendTable] = Field([], description="Row filters, applied before anything is keyed, stored or sent.")
    teacher: BackendTable = Field(description="{use: NAME, option: value, ...}")
    trainer: BackendTable = Field(description="{use: NAME, option: value, ...}")
    exporter: BackendTable = Field(description="{use: NAME, option: value, ...}")
    runner: BackendTable = Field({"use": "local"}, description="Runs and times the exported files.")
    checkpoint_runner: BackendTable = Field({"use": "hf"}, description="Runs the untrained base and the checkpoint.")
    evaluate: EvaluateSection = EvaluateSection()
    bench: BenchSection = BenchSection()
    gates: dict[str, float | str | list[float | str]] = Field({}, description="What every shipped file must reach.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A recipe with its backends built: a wrong one fails here, before anything is asked, downloaded or trained."""

    path: Path
    file: RecipeFile
    prompts: Path
    teacher: Teacher
    trainer: Trainer
    exporter: Exporter
    runner: Runner
    checkpoint_runner: Runner | None
    metrics: tuple[Metric, ...]
    filters: tuple[Filter, ...] = ()
    gates: tuple[Gate, ...] = ()
    sets: dict[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the recipe's name: its file's, without the suffix."""
        return self.path.stem

    @property
    def contract(self) -> Contract:
        """Return the prompt contract that the recipe asks for."""
        return Contract(schema_in_prompt=self.file.label.schema_in_prompt, system=self.file.label.system)

    @property
    def bench(self) -> BenchPlan:
        """Return what is timed."""
        section = self.file.bench
        return BenchPlan(pp=section.pp, tg=section.tg, repetitions=section.repetitions)

    def resolved(self) -> JSONObject:
        """Return the recipe with every option of every backend spelt out."""
        tables = {name: getattr(self, name) for name in ("teacher", "trainer", "exporter", "runner", "checkpoint_runner")}
        return {
            **self.file.model_dump(mode="json"),
            **{name: backend.options() for name, backend in tables.items() if backend is not None},
            "prompts": str(self.prompts),
        }


def load_recipe(path: Path | str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe, apply overrides of the form `a.b=value`, and build its backends.

    Raises ConfigError in a sentence with the file's name for anything that is wrong, UnknownBackend for a name that no
    plugin provides.
    """
    path = Path(path)
    try:
        data = parse_yaml(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}. Write a recipe first: pillm init") from error
    except ValueError as error:
        raise ConfigError(f"{path.name}: not a recipe: {error}.") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name}: a recipe is a table of keys and values.")
    try:
        return _build(path, _merge(data, parse_assignments(overrides)))
    except ConfigError as error:
        raise type(error)(f"{path.name}: {error}") from error


def _merge(data: JSONObject, changes: Mapping[str, Any]) -> JSONObject:
    merged = dict(data)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _build(path: Path, data: JSONObject) -> Recipe:
    file = _validated(data)
    base = path.parent
    metrics = [{"use": one} if isinstance(one, str) else one for one in file.evaluate.metrics]
    checkpoint_runner = file.checkpoint_runner
    return Recipe(
        path=path,
        file=file,
        prompts=base / file.prompts,
        teacher=_backend("teacher", file.teacher),
        trainer=_backend("trainer", file.trainer),
        exporter=_backend("exporter", file.exporter),
        runner=_backend("runner", file.runner),
        checkpoint_runner=_backend("runner", checkpoint_runner) if checkpoint_runner else None,
        metrics=tuple(_backend("metric", table) for table in metrics),
        filters=tuple(_backend("filter", table) for table in file.filters),
        gates=parse_gates(file.gates),
        sets={name: base / where for name, where in file.evaluate.sets.items()},
    )


def _backend(kind: str, table: BackendTable) -> Any:
    if not isinstance(table.get("use"), str):
        raise ConfigError(f"{kind}: the table needs 'use: NAME'. See: pillm backends")
    return build(kind, table["use"], {name: value for name, value in table.items() if name != "use"})


def _validated(data: JSONObject) -> RecipeFile:
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
