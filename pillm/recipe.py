"""A pipeline in one YAML file: `use:` names a backend, every other key of its table is one of its options."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pillm.artifacts import BenchPlan
from pillm.backends import Backend, Exporter, Filter, Metric, Runner, Teacher, Trainer
from pillm.cards.card import Told
from pillm.contract import Contract
from pillm.devices import DeviceProfile, device, is_path
from pillm.errors import ConfigError, MissingDependency
from pillm.gates import Gate, check_names, parse_gates
from pillm.judging import ConsultingMetric, Judge
from pillm.options import parse_assignments
from pillm.plugins import build
from pillm.recipefile import BackendTable, RecipeFile, read_recipe_file
from pillm.records import JSONObject, digest
from pillm.stages.settings import Labelling
from pillm.yamlfile import read_table

RESERVED_SETS = ("test", "validation", "answers")
_SET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
log = logging.getLogger(__name__)


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
    bench_runner: Runner | None = None
    """Times the exported files; None: the runner does."""
    metrics: tuple[Metric, ...]
    judge: Judge | None = None
    """Chooses among the answers to a row, where label.choose says so."""
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
    def labelling(self) -> Labelling:
        """Return how the rows are labelled; what filters leave out is no row of a run."""
        section = self.file.label
        return Labelling(
            attempts=section.attempts,
            samples=section.samples,
            choose=section.choose,
            judge=self.judge,
            repair=section.repair,
            reasoning=section.reasoning,
            max_cost=section.max_cost,
            max_tokens=section.max_tokens,
            prices=self.path.parent / section.prices if section.prices else None,
            contract=self.contract,
        )

    @property
    def device(self) -> DeviceProfile | None:
        """Return the profile of the device that the result is planned for; raise ConfigError where it is not known."""
        told = self.file.device
        return device(self.path.parent / told if is_path(told) else told) if told is not None else None

    @property
    def told(self) -> Told:
        """Return what the recipe says of the result's making and terms: what its files carry."""
        return self.file.terms.told(digest(self.making))

    @property
    def making(self) -> JSONObject:
        """Return what in the recipe makes the files: what its hash is of."""
        file = self.file
        return {
            "seed": file.seed,
            "split": file.split.model_dump(mode="json"),
            "label": file.label.model_dump(mode="json", exclude={"max_cost", "max_tokens", "prices", "judge"}),
            "backends": [backend.identity() for backend in (*self.filters, self.teacher, self.trainer, self.exporter)],
        }

    @property
    def bench(self) -> BenchPlan:
        """Return what is timed."""
        section = self.file.bench
        return BenchPlan(**section.model_dump())

    def backends(self) -> dict[str, Backend]:
        """Return the backends that do the work, by their part."""
        parts = ("teacher", "trainer", "exporter", "runner", "bench_runner", "checkpoint_runner")
        return {part: getattr(self, part) for part in parts if getattr(self, part) is not None}

    def resolved(self, folder: Path | None = None) -> JSONObject:
        """Return the recipe with every option of every backend spelt out, its paths counted from `folder`.

        By default they count from the recipe's own folder. Absolute paths stay, and so do those in options of backends.
        """
        file = self.file
        said = file.model_dump(mode="json")
        said |= {part: backend.options() for part, backend in self.backends().items()}
        said["prompts"] = self._counted_from(folder, file.prompts)
        said["evaluate"]["sets"] = {name: self._counted_from(folder, path) for name, path in file.evaluate.sets.items()}
        if file.device and is_path(file.device):
            said["device"] = self._counted_from(folder, file.device)
        return said

    def _counted_from(self, folder: Path | None, path: str) -> str:
        base = self.path.parent
        if folder is None or Path(path).is_absolute():
            return path
        # what runs in another folder, or was moved together with its recipe, says the same
        return os.path.relpath((base / path).parent.resolve() / Path(path).name, folder.resolve())


def load_recipe(path: Path | str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe, apply overrides of the form `a.b=value`, and build its backends.

    Raises ConfigError in a sentence with the file's name for anything that is wrong, UnknownBackend for a name that no
    plugin provides, MissingDependency for one whose plugin is not installed.
    """
    path = Path(path)
    data = read_table(path, "a recipe", "Write a recipe first: pillm init")
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
    file = read_recipe_file(data)
    base = path.parent
    tables = [{"use": one} if isinstance(one, str) else one for one in file.evaluate.metrics]
    metrics: tuple[Metric, ...] = tuple(_backend("metric", table) for table in tables)
    checkpoint_runner, bench_runner = file.checkpoint_runner, file.bench_runner
    return Recipe(
        path=path,
        file=file,
        prompts=base / file.prompts,
        teacher=_backend("teacher", file.teacher),
        trainer=_backend("trainer", file.trainer),
        exporter=_exporter(file.exporter, file, base, metrics),
        runner=_backend("runner", file.runner),
        checkpoint_runner=_backend("runner", checkpoint_runner) if checkpoint_runner else None,
        bench_runner=_backend("runner", bench_runner) if bench_runner else None,
        metrics=metrics,
        judge=Judge(teacher=_backend("teacher", file.label.judge)) if file.label.judge else None,
        filters=tuple(_backend("filter", table) for table in file.filters),
        gates=parse_gates(file.gates),
        sets={name: base / where for name, where in file.evaluate.sets.items()},
    )


def _exporter(table: BackendTable, file: RecipeFile, base: Path, metrics: Sequence[Metric]) -> Exporter:
    """Return the exporter; one that chooses its quantisations does so for the recipe's device and by its metrics.

    Options that it was given stay. Metrics that ask a teacher are left out: they would cost money for each file.
    """
    told, chooses = file.device, table.get("quants") in ("auto", ["auto"])
    if chooses and told is not None and "device" not in table:
        table = {**table, "device": str(base / told) if is_path(told) else told}
    built: Exporter = _backend("exporter", table)
    asked = [metric.options() for metric in metrics if not isinstance(metric, ConsultingMetric)]
    if chooses and asked and "metrics" in type(built).model_fields.keys() - table.keys():
        return cast("Exporter", _backend("exporter", {**table, "metrics": asked}))
    return built


def _check(recipe: Recipe) -> None:
    """Refuse now what would fail only after hours: names of sets and gates, runners that cannot read what is made."""
    for name in recipe.sets:
        if name in RESERVED_SETS:
            raise ConfigError(f"evaluate.sets: {name!r} is taken: it names rows of the split or a folder of pillm's own.")
        if not _SET_NAME.fullmatch(name):
            raise ConfigError(
                f"evaluate.sets: {name!r} is not a name. Use up to 32 small letters, digits, dashes, underscores."
            )
    metrics = [metric.name for metric in recipe.metrics]
    for name in metrics:
        if metrics.count(name) > 1:
            raise ConfigError(f"evaluate.metrics: metric {name!r} stands twice. Give each metric once.")
    recipe.labelling.check(recipe.teacher)
    _check_runners(recipe)
    _check_gates(recipe, metrics)


def _check_runners(recipe: Recipe) -> None:
    exporter, other = recipe.exporter, recipe.checkpoint_runner
    for part, runner in (("runner", recipe.runner), ("bench_runner", recipe.bench_runner)):
        if runner is not None and exporter.writes and not exporter.writes & runner.reads:
            raise ConfigError(
                f"{part} {runner.name!r} reads {', '.join(sorted(runner.reads))}, but exporter {exporter.name!r} writes "
                f"{', '.join(sorted(exporter.writes))}. Choose another runner."
            )
    for part, runner in (("runner", recipe.runner), ("checkpoint_runner", other)):
        if runner is not None and "answer" not in runner.capabilities:
            raise ConfigError(
                f"{part} {runner.name!r} times models and does not answer, so it could score nothing. "
                f"Give it as bench_runner, and choose a {part} that answers."
            )
    if other is not None and "checkpoint" not in other.reads:
        raise ConfigError(
            f"checkpoint_runner {other.name!r} reads {', '.join(sorted(other.reads))}, not checkpoint folders. "
            "Choose another one, or none."
        )


def named_quants(exporter: Exporter) -> tuple[str, ...] | None:
    """Return the quantisations that an exporter will make; None where it does not say, or chooses them itself."""
    quants = getattr(exporter, "quants", None)
    return None if quants is None or "auto" in quants else tuple(quants)


def trained_for(trainer: Trainer) -> str | None:
    """Return the quantisation that a trainer prepares its student for; None where it does not."""
    found = getattr(getattr(trainer, "quantization_aware", None), "type", None)
    return found if isinstance(found, str) else None


def _check_gates(recipe: Recipe, metrics: list[str]) -> None:
    asked = {gate.subject for gate in recipe.gates if gate.subject}
    if "base" in asked and type(recipe.trainer).base_checkpoint is Trainer.base_checkpoint:
        raise ConfigError(f"gates: trainer {recipe.trainer.name!r} has no untrained base to compare with.")
    quants = named_quants(recipe.exporter)
    files = [name for name in asked if name.rpartition(".")[2] in recipe.exporter.writes]
    scored = ["base", "checkpoint"] if recipe.checkpoint_runner else []
    check_names(recipe.gates, metrics, ["teacher", *scored, *quants, *files] if quants is not None else None)


def _backend(kind: str, table: BackendTable) -> Any:
    if not isinstance(table.get("use"), str):
        raise ConfigError(f"{kind}: the table needs 'use: NAME'. See: pillm backends")
    return build(kind, table["use"], {name: value for name, value in table.items() if name != "use"})
