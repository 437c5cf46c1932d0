"""Rehearse a recipe: resolve everything, say what a run would do and cost, touch nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pillm.artifacts import Checkpoint, Plan
from pillm.errors import PillmError
from pillm.forecasts import ExportForecast, TrainingForecast
from pillm.outlook import look_ahead, planned_student
from pillm.prospects import Prospect
from pillm.recipe import Recipe, named_quants
from pillm.records import Answer, Example, JSONObject, Prompt
from pillm.rows import given_example
from pillm.runfolder import run_folder, seconds_of
from pillm.stages.labelling import Forecast, Labelling, forecast
from pillm.stages.training import Training
from pillm.stages.training import forecast as training_forecast
from pillm.store import read_manifest
from pillm.subjects import ANSWERS_FOLDER

log = logging.getLogger(__name__)

ASSUMED_GFLOPS_PER_CORE = 20.0
"""What a CPU core does on small models, with their overhead: a rough figure for first runs; later runs use their own times."""
SECONDS_PER_FILE = 2.0
"""What a small file takes that an export tries, beside reading with it: to be written, opened and closed."""
BYTES_PER_ROW = 2_000
"""What a labelled row takes on disk, store included."""
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StageForecast:
    """What a stage would do: how long it would take, and whether that was measured before or is rough arithmetic."""

    stage: str
    state: str
    seconds: float | None = None
    basis: str = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a run would do: rows by split and set, what would be asked, disk, time by stage, the plan for the device."""

    recipe: JSONObject
    folder: Path
    rows: dict[str, int]
    notes: tuple[str, ...]
    """Which rows of a set would not be scored, and why."""
    label: Forecast
    held_out: Forecast | None
    """What the teacher would be asked to be scored: the held-out rows and the further sets; None without any."""
    disk_bytes: int | None
    free_bytes: int
    stages: tuple[StageForecast, ...]
    plan: Plan | None = None
    """Of the smallest file that fits the recipe's device."""
    plans: tuple[Plan, ...] = ()
    """Of every file whose size is known beforehand."""
    gates: tuple[Prospect, ...] = ()
    """What these plans say of the gates on speed and size."""
    training: TrainingForecast | None = None
    """What training would take, with answers that are not there yet assumed; None where it was not timed."""
    export: ExportForecast | None = None
    """What an exporter that tries more files than it ships would take; None where it does not, or cannot tell."""
    obstacles: tuple[str, ...] = ()
    """What a run would stop at before it asked anything: a tool, a model or a key that is missing here."""

    def to_json(self) -> JSONObject:
        """Return the rehearsal as plain JSON."""
        found = asdict(self)
        found["folder"] = self.folder.as_posix()
        found["training"] = None if self.training is None else {**found["training"], "fits": self.training.fits}
        return found


def rehearse(
    recipe: Recipe, out: Path | str | None = None, *, retry: frozenset[str] = frozenset(), timed: bool = False
) -> DryRun:
    """Return what a run of the recipe would do, without asking, training or writing anything.

    Nothing is downloaded but, for a device to be planned for, the `config.json` of a base that is not here.

    It is arithmetic, and loads no heavy library. Where training is to be `timed` and none stands, its trainer tells what
    memory it takes, and takes a few steps on a copy of the student. Raises what a run would refuse of the recipe and its
    rows; what is only missing here is told as `obstacles`.
    """
    folder = run_folder(recipe, out)
    ahead = look_ahead(recipe, folder)
    sides, sets = ahead.rows.sides, ahead.rows.sets
    asked = [row for side, found in sides.items() if side != "test" for row in found]
    scored = [replace(row, given=None) for found in sets.values() for row in found]
    labels = forecast(asked, recipe.teacher, folder / "label", replace(recipe.labelling, retry=retry))
    greedy, answers = recipe.teacher.greedy(), folder / "evaluate" / ANSWERS_FOLDER
    greedily = Labelling(contract=recipe.contract, retry=retry & {"failed"})
    held_out = forecast(scored, greedy, answers, greedily) if scored else None
    parameters = _parameters(recipe)
    took = seconds_of(folder)
    training, seconds = None, _training_seconds(recipe, sides["train"], parameters)
    if timed and "train" not in took:  # what stands was timed for real
        training = assumed_training(recipe, sides)
    if training is not None and training.seconds is not None:
        seconds = training.seconds
    exporting = _exporting(recipe, sides["validation"])
    tried = _trying_seconds(exporting, parameters)
    return DryRun(
        recipe=recipe.resolved(),
        folder=folder,
        rows={**{side: len(rows) for side, rows in sides.items()}, **{f"set {name}": len(rows) for name, rows in sets.items()}},
        notes=ahead.rows.notes,
        label=labels,
        held_out=held_out,
        disk_bytes=_disk(recipe, parameters, len(asked), exporting),
        free_bytes=_free(folder),
        stages=(
            _labelling(folder, labels.to_ask),
            *_stages(folder, seconds, tried, timed=training is not None and training.seconds is not None),
        ),
        training=training,
        export=exporting,
        plan=ahead.plan,
        plans=ahead.plans,
        gates=ahead.prospects,
        obstacles=tuple(str(one) for one in ahead.obstacles),
    )


def _labelling(folder: Path, to_ask: int) -> StageForecast:
    """Return what is left to label; its time is the last run's per row, where there was one."""
    manifest = read_manifest(folder / "label")
    if manifest is None or not to_ask:
        return _stage("label", seconds_of(folder), None)
    rate = manifest["seconds"] / max(1, manifest["counts"].get("in", 0))
    return StageForecast(stage="label", state="to do", seconds=round(rate * to_ask, 1), basis="the last run's rate")


def _stages(folder: Path, training: float | None, tried: float | None, *, timed: bool) -> list[StageForecast]:
    """Return what comes after labelling."""
    took = seconds_of(folder) | ({"report": 0.0} if read_manifest(folder) else {})
    basis = "a few steps timed, answers assumed as long as their prompts" if timed else "rough arithmetic"
    later = [_stage("export", took, tried), *(_stage(name, took, None) for name in ("evaluate", "bench", "report"))]
    return [_stage("train", took, training, basis), *later]


def _stage(name: str, took: dict[str, float], rough: float | None, basis: str = "rough arithmetic") -> StageForecast:
    if name in took:
        state = "has a result, kept unless what it depends on changed"
        return StageForecast(stage=name, state=state, seconds=took[name], basis="last run")
    if rough is not None:
        return StageForecast(stage=name, state="to do", seconds=round(rough, 1), basis=basis)
    return StageForecast(stage=name, state="to do")


def _training_seconds(recipe: Recipe, rows: Sequence[Prompt], parameters: int | None) -> float | None:
    tokens = _tokens(rows) * int(getattr(recipe.trainer, "num_train_epochs", 1) or 1)
    return 6 * parameters * tokens / _flops() if parameters else None


def _trying_seconds(exporting: ExportForecast | None, parameters: int | None) -> float | None:
    if exporting is None or not parameters:
        return None
    return exporting.tokens * 2 * parameters / _flops() + exporting.files * SECONDS_PER_FILE


def _flops() -> float:
    """Return what this machine is assumed to do in a second."""
    return ASSUMED_GFLOPS_PER_CORE * 1e9 * (os.cpu_count() or 1)


def _exporting(recipe: Recipe, validation: Sequence[Prompt]) -> ExportForecast | None:
    """Return what the exporter says that it will take, where the student's shape is known here."""
    base = recipe.trainer.base_checkpoint(fetch=False)
    if base is None:
        return None
    try:
        student = planned_student(recipe.trainer, base)
        shape = student.config if isinstance(student, Checkpoint) else student
        return recipe.exporter.forecast(shape, len(validation), _tokens(validation))
    except PillmError as error:
        log.info("the export is not forecast: %s", error)
        return None


def assumed_training(recipe: Recipe, sides: Mapping[str, Sequence[Prompt]]) -> TrainingForecast | None:
    """Return what training on the rows would take, an answer that is not there yet assumed as long as its prompt.

    None where the trainer cannot tell, or could not train on such rows: what it refuses of real ones it says in time.
    """
    examples = [_assumed(replace(row, split=side)) for side, rows in sides.items() if side != "test" for row in rows]
    try:
        settings = Training(contract=recipe.contract, seed=recipe.file.seed, teacher=recipe.teacher)
        return training_forecast(examples, recipe.trainer, settings)
    except PillmError as error:
        log.info("training is not forecast: %s", error)
        return None


def _assumed(row: Prompt) -> Example:
    if row.given is not None:
        return given_example(row)
    said = " ".join(str(message.get("content") or "") for message in row.messages if message.get("role") == "user")
    return Example(prompt=row, answer=Answer(said.strip() or "yes"))


def _tokens(rows: Sequence[Prompt]) -> int:
    """Return a rough count of the tokens of some rows with their answers."""
    characters = sum(len(str(message.get("content") or "")) for row in rows for message in row.messages)
    return characters * 2 // CHARACTERS_PER_TOKEN


def _parameters(recipe: Recipe) -> int | None:
    """Return the student's parameters from the size of its weights, or None where it is not on this machine."""
    base = recipe.trainer.base_checkpoint(fetch=False)
    if base is None:
        return None
    size = sum(path.stat().st_size for path in base.path.glob("*.safetensors"))
    return size // 2 or None


def _disk(recipe: Recipe, parameters: int | None, rows: int, exporting: ExportForecast | None) -> int | None:
    if parameters is None:
        return None
    if exporting is not None:
        return rows * BYTES_PER_ROW + parameters * 2 * 2 + exporting.disk_bytes
    quants = len(named_quants(recipe.exporter) or ()) or 1
    return rows * BYTES_PER_ROW + parameters * 2 * (3 + quants)


def _free(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    stat = os.statvfs(existing)
    return stat.f_bavail * stat.f_frsize
