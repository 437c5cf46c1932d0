"""A run's folder as a whole: how long its stages took, what made them, its report and its root manifest."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import yaml

from pillm.artifacts import sha256_file, to_json
from pillm.errors import ConfigError
from pillm.files import named, write_text
from pillm.gates import GateResult
from pillm.plugins import model_folder
from pillm.progress import Progress
from pillm.provenance import versions
from pillm.recipe import Recipe
from pillm.records import JSONObject
from pillm.report import RunFacts, write_report
from pillm.store import (
    MAKING,
    MANIFEST,
    Lineage,
    is_current,
    read_manifest,
    refuse_foreign,
    refuse_to_replace,
    stage_key,
    write_manifest,
)

RECIPE_FILE, EVENTS_FILE = "recipe.yaml", "events.jsonl"
REPORTS = ("report.json", "report.md", "report.html")
STAGES = ("label", "train", "export", "evaluate", "bench")


def run_folder(recipe: Recipe, out: Path | str | None = None) -> Path:
    """Return the folder of a run, by default `runs/NAME`; raise ConfigError where a run would write over something else."""
    folder = named(out if out is not None else Path("runs") / recipe.name)
    if (folder / RECIPE_FILE).resolve() == recipe.path.resolve():
        usual = Path("runs") / recipe.name
        other = f"{folder}-again" if usual.resolve() == folder.resolve() else usual
        raise ConfigError(
            f"the recipe itself lies in {folder}, where a run writes a {RECIPE_FILE} of its own; nothing was touched. "
            f"Choose another --out, such as {other}."
        )
    refuse_foreign(folder, "run", trace=EVENTS_FILE, beside=STAGES)
    for stage in ("train", "export"):  # they would refuse it themselves, but only when the work before them is paid
        refuse_to_replace(folder / stage, stage)
    return folder


def write_recipe(recipe: Recipe, folder: Path) -> None:
    """Write the resolved recipe; where it changed, no manifest vouches for the run until its report is written."""
    text = yaml.safe_dump(recipe.resolved(folder), allow_unicode=True, sort_keys=False)
    path = folder / RECIPE_FILE
    if not path.is_file() or path.read_bytes() != text.encode():  # a damaged one need not be text
        (folder / MANIFEST).unlink(missing_ok=True)
        write_text(path, text)


def seconds_of(folder: Path) -> dict[str, float]:
    """Return how long each stage took when it was made, evaluation and bench summed over their parts."""
    found: dict[str, float] = {}
    for path in _stage_manifests(folder):
        manifest = read_manifest(path.parent) or {}
        stage = path.relative_to(folder).parts[0]
        found[stage] = round(found.get(stage, 0.0) + float(manifest.get("seconds", 0.0)), 2)
    return {stage: found[stage] for stage in STAGES if stage in found}


def _stage_manifests(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob(MANIFEST) if path.parent != folder)
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def makers_of(folder: Path) -> list[JSONObject]:
    """Return the backends, as recorded, that made the results that stand in a run's folder."""
    manifests = (read_manifest(path.parent) or {} for path in _stage_manifests(folder))
    return [maker for manifest in manifests for maker in manifest.get("backends", ())]


def versions_of(folder: Path) -> dict[str, str]:
    """Return the versions that the stages were made with: Python, pillm, and by distribution every plugin and its libraries.

    Where stages were made with different ones, all of them.
    """
    found: dict[str, list[str]] = {name: [] for name in versions()}
    for path in _stage_manifests(folder):
        for name, version in (read_manifest(path.parent) or {}).get("versions", {}).items():
            if version not in found.setdefault(name, []):
                found[name].append(version)
    shared = {name: found.pop(name) for name in versions()}
    return {name: ", ".join(told) for name, told in (shared | dict(sorted(found.items()))).items() if told}


def sizes_of(recipe: Recipe) -> dict[str, int]:
    """Return the bytes of the teacher's and the base's weights, where they lie on this machine."""
    base = recipe.trainer.base_checkpoint(fetch=False)
    teacher = model_folder(str(getattr(recipe.teacher, "model", "") or "no model"))
    folders = {"teacher": teacher, "base": base.path if base else None}
    sizes = {name: sum(path.stat().st_size for path in at.glob("*.safetensors")) for name, at in folders.items() if at}
    return {name: size for name, size in sizes.items() if size}


def publish_report(
    folder: Path, facts: RunFacts, progress: Progress, *, seed: int, making: JSONObject | None = None
) -> JSONObject:
    """Write the report and, last, the root manifest; both stay as they are where nothing below them changed.

    `making` is what in the recipe made the files, for whoever recomputes its hash.
    """
    manifests = _stage_manifests(folder)
    parents = {path.relative_to(folder).as_posix(): sha256_file(path) for path in manifests}
    gates = [asdict(gate) for gate in facts.gates if isinstance(gate, GateResult)]
    plans = [to_json(plan) for plan in facts.plans]  # a profile may change under its name
    notes = [*facts.notes, *([facts.not_emulated] if facts.not_emulated else [])]
    rows = [dict(facts.rows), dict(facts.splits), notes]  # a row that is left out changes no stage
    inputs = {"stages": parents, "recipe": facts.resolved, "gates": gates, "plans": plans, "rows": rows, "by": versions()}
    key = stage_key("run", inputs)
    if is_current(folder, key):
        progress.up_to_date()
        found: JSONObject = json.loads((folder / "report.json").read_text("utf-8"))
        return found
    (folder / MANIFEST).unlink(missing_ok=True)
    report = write_report(facts, folder)
    files = [folder / name for name in (RECIPE_FILE, *REPORTS)] + manifests
    write_manifest(folder, Lineage(verb="run", key=key, seed=seed, results={MAKING: making} if making else {}), files)
    progress.finish(f"{folder / 'report.html'}")
    return report
