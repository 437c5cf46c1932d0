"""Rehearse a recipe: resolve everything, say what a run would do and cost, touch nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pillm.artifacts import Plan
from pillm.pipeline import evaluation_sets, first_look, sides_of
from pillm.recipe import Recipe
from pillm.records import JSONObject, Prompt
from pillm.stages.labelling import Forecast, Labelling, forecast
from pillm.store import read_manifest
from pillm.subjects import ANSWERS_FOLDER

ASSUMED_GFLOPS_PER_CORE = 20.0
"""What a CPU core does on small models, with their overhead: a rough figure for first runs; later runs use their own times."""
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
    label: Forecast
    disk_bytes: int | None
    free_bytes: int
    stages: tuple[StageForecast, ...]
    plan: Plan | None = None
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> JSONObject:
        """Return the rehearsal as plain JSON."""
        found = asdict(self)
        found["folder"] = self.folder.as_posix()
        return found


def rehearse(recipe: Recipe, out: Path | str | None = None) -> DryRun:
    """Return what a run of the recipe would do, without asking, downloading, training or writing anything."""
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    planned = first_look(recipe)
    sides = sides_of(recipe)
    sets = evaluation_sets(recipe, sides["test"])
    asked = [row for side, rows in sides.items() if side != "test" for row in rows]
    settings = Labelling(attempts=recipe.file.label.attempts, contract=recipe.contract)
    labels = forecast(asked, recipe.teacher, folder / "label", settings)
    parameters = _parameters(recipe)
    return DryRun(
        recipe=recipe.resolved(),
        folder=folder,
        rows={**{side: len(rows) for side, rows in sides.items()}, **{f"set {name}": len(rows) for name, rows in sets.items()}},
        label=labels,
        disk_bytes=_disk(recipe, parameters, len(asked)),
        free_bytes=_free(folder),
        stages=tuple(_stages(recipe, folder, sides, parameters)),
        plan=planned,
    )


def _stages(recipe: Recipe, folder: Path, sides: dict[str, list[Prompt]], parameters: int | None) -> list[StageForecast]:
    tokens = _tokens(sides["train"]) * int(getattr(recipe.trainer, "num_train_epochs", 1) or 1)
    rough = 6 * parameters * tokens / (ASSUMED_GFLOPS_PER_CORE * 1e9 * (os.cpu_count() or 1)) if parameters else None
    folders = {
        "label": folder / "label",
        "train": folder / "train",
        "export": folder / "export",
        "evaluate": folder / "evaluate" / ANSWERS_FOLDER,
    }
    return [_stage(name, path, rough if name == "train" else None) for name, path in folders.items()]


def _stage(name: str, folder: Path, rough: float | None) -> StageForecast:
    manifest = read_manifest(folder)
    if manifest is not None:
        state = "has a result, kept unless what it depends on changed"
        return StageForecast(stage=name, state=state, seconds=manifest["seconds"], basis="last run")
    if rough is not None:
        return StageForecast(stage=name, state="to do", seconds=round(rough, 1), basis="rough arithmetic")
    return StageForecast(stage=name, state="to do")


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


def _disk(recipe: Recipe, parameters: int | None, rows: int) -> int | None:
    if parameters is None:
        return None
    quants = len(getattr(recipe.exporter, "quants", ()) or ()) or 1
    return rows * BYTES_PER_ROW + parameters * 2 * (3 + quants)


def _free(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    stat = os.statvfs(existing)
    return stat.f_bavail * stat.f_frsize
