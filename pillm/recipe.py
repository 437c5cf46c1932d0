"""A pipeline in one YAML file: `use:` names a backend, every other key of its table is one of its options."""

from __future__ import annotations

import logging
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pillm.artifacts import BenchPlan
from pillm.backends import Backend, Exporter, Filter, Metric, Runner, Teacher, Trainer
from pillm.contract import Contract
from pillm.errors import ConfigError, MissingDependency, did_you_mean
from pillm.gates import Gate, check_names, parse_gates
from pillm.options import parse_assignments
from pillm.plugins import build
from pillm.records import JSONObject
from pillm.yamlfile import parse_yaml

BackendTable = dict[str, Any]
RESERVED_SETS = ("test", "answers")
_SET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
log = logging.getLogger(__name__)


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
    relabel: bool = Field(False, description="Ask the teacher also for rows that arrive answered.")
    schema_in_prompt: Literal["none", "text"] = Field("none", description="How teacher and student learn of a schema.")
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
    checkpoint_runner: BackendTable | None = Field(
        {"use": "hf"}, description="Runs the untrained base and the checkpoint; none: they are not scored."
    )
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

    def backends(self) -> dict[str, Backend]:
        """Return the backends that do the work, by their part."""
        parts = ("teacher", "trainer", "exporter", "runner", "checkpoint_runner")
        return {part: getattr(self, part) for part in parts if getattr(self, part) is not None}

    def resolved(self) -> JSONObject:
        """Return the recipe with every option of every backend spelt out."""
        return {
            **self.file.model_dump(mode="json"),
            **{part: backend.options() for part, backend in self.backends().items()},
            "prompts": str(self.prompts),
        }


def load_recipe(path: Path | str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe, apply overrides of the form `a.b=value`, and build its backends.

    Raises ConfigError in a sentence with the file's name for anything that is wrong, UnknownBackend for a name that no
    plugin provides, MissingDependency for one whose plugin is not installed.
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
        recipe = _build(path, _merge(data, parse_assignments(overrides)))
        _check(recipe)
    except (ConfigError, MissingDependency) as error:
        raise type(error)(f"{path.name}: {error}") from error
    log.info("recipe %s: %s", path.name, ", ".join(f"{kind} {backend.name}" for kind, backend in recipe.backends().items()))
    for kind, backend in recipe.backends().items():
        log.debug("%s: %s", kind, backend.options())
    return recipe


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


def _check(recipe: Recipe) -> None:
    """Refuse now what would fail only after hours: names of sets and gates, runners that cannot read what is made."""
    for name in recipe.sets:
        if name in RESERVED_SETS:
            raise ConfigError(f"evaluate.sets: {name!r} is taken: it names the held-out rows or a folder of pillm's own.")
        if not _SET_NAME.fullmatch(name):
            raise ConfigError(f"evaluate.sets: {name!r} is not a name. Use up to 32 small letters, digits, dashes, underscores.")
    metrics = [metric.name for metric in recipe.metrics]
    for name in metrics:
        if metrics.count(name) > 1:
            raise ConfigError(f"evaluate.metrics: metric {name!r} stands twice. Give each metric once.")
    _check_runners(recipe)
    _check_gates(recipe, metrics)


def _check_runners(recipe: Recipe) -> None:
    runner, exporter, other = recipe.runner, recipe.exporter, recipe.checkpoint_runner
    if exporter.writes and not exporter.writes & runner.reads:
        raise ConfigError(
            f"runner {runner.name!r} reads {', '.join(sorted(runner.reads))}, but exporter {exporter.name!r} writes "
            f"{', '.join(sorted(exporter.writes))}. Choose another runner."
        )
    if other is not None and "checkpoint" not in other.reads:
        raise ConfigError(
            f"checkpoint_runner {other.name!r} reads {', '.join(sorted(other.reads))}, not checkpoint folders. "
            "Choose another one, or none."
        )


def _check_gates(recipe: Recipe, metrics: list[str]) -> None:
    asked = {gate.subject for gate in recipe.gates if gate.subject}
    if "base" in asked and type(recipe.trainer).base_checkpoint is Trainer.base_checkpoint:
        raise ConfigError(f"gates: trainer {recipe.trainer.name!r} has no untrained base to compare with.")
    quants = getattr(recipe.exporter, "quants", None)
    files = [name for name in asked if name.rpartition(".")[2] in recipe.exporter.writes]
    scored = ["base", "checkpoint"] if recipe.checkpoint_runner else []
    check_names(recipe.gates, metrics, ["teacher", *scored, *quants, *files] if quants is not None else None)


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
