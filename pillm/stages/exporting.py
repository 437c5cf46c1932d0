"""Export a checkpoint: hand it to an exporter, and check that its files are there and are what it says."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from pillm.agreement import Agreement
from pillm.artifacts import CONTRACT_FILE, Checkpoint, ModelFile, Parity, sha256_file, to_json
from pillm.backends import Exporter
from pillm.cards.beside import export_card, write_beside
from pillm.divergence import Divergence
from pillm.errors import BackendError, DataError
from pillm.files import lock, named, storage_errors
from pillm.progress import Progress
from pillm.stages.training import checkpoint_key
from pillm.store import Lineage, WorkFolder, is_current, read_manifest, stage_key


def export(checkpoint: Checkpoint, exporter: Exporter, out: Path | str, *, progress: Progress | None = None) -> list[ModelFile]:
    """Pack a checkpoint, or an adapter's folder, into model files in the folder `out`, and return them.

    Raises ConfigError where `out` holds what another stage made, DataError for an unreadable checkpoint, BackendError
    where the exporter made no file or a false one.
    """
    out, progress = named(out), progress or Progress("export")
    adapter = (checkpoint.path / "adapter_config.json").is_file()
    if not adapter and not (checkpoint.path / "config.json").is_file():
        raise DataError(f"{checkpoint.path} is not a model folder: it has no config.json. Give the folder that train wrote.")
    parents = {"checkpoint": checkpoint_key(checkpoint), **exporter.parents(checkpoint)}
    told = {"told": checkpoint.told} if checkpoint.told else {}
    key = stage_key("export", {**parents, "name": checkpoint.label, **told}, exporter)
    with lock(out.with_name(f".{out.name}.lock")):
        if is_current(out, key):
            progress.up_to_date()
            return _recorded(out)
        with WorkFolder(out, "export", key) as work, storage_errors(out):
            models = []
            for model in exporter.export(checkpoint, work.path, progress):
                _check(model, exporter, work.path)
                models.append(model)
            if not models:
                raise BackendError(f"exporter {exporter.name!r} made no file; nothing was published.")
            facts = [to_json(replace(model, path=model.path.relative_to(work.path))) for model in models]
            lineage = Lineage(
                verb="export",
                key=key,
                backends=(exporter,),
                seconds=work.seconds,
                parents=parents,
                counts={"files": len(models)},
                results={"models": facts} | ({"origin": checkpoint.origin} if checkpoint.origin else {}),
            )
            _keep_only(work.path, models)
            for place in (checkpoint.path.resolve().parent, checkpoint.path) if adapter else (checkpoint.path,):
                if (place / CONTRACT_FILE).is_file():  # whoever gets the files must ask as the student was taught
                    shutil.copyfile(place / CONTRACT_FILE, work.path / CONTRACT_FILE)
            write_beside(work.path, export_card(checkpoint, models, work.path))
            work.publish(lineage)
    progress.finish(f"{len(models)} files")
    return _recorded(out)


def _check(model: ModelFile, exporter: Exporter, folder: Path) -> None:
    if not model.path.is_relative_to(folder) or not model.path.is_file():
        raise BackendError(f"exporter {exporter.name!r} reported {model.path}, which is not a file in its folder.")
    if model.path.stat().st_size != model.bytes or sha256_file(model.path) != model.sha256:
        said = f"exporter {exporter.name!r} reported {model.path.name}"
        raise BackendError(f"{said} with a size or sha256 that is not the file's.")


def _keep_only(folder: Path, models: list[ModelFile]) -> None:
    """Remove an exporter's half-made files: only model files and what stands beside them ships."""
    kept = {model.path for model in models}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path not in kept and path.suffix in (".part", ".tmp"):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _recorded(out: Path) -> list[ModelFile]:
    manifest = read_manifest(out) or {}
    return [_model(out, facts) for facts in manifest["results"]["models"]]


def _model(out: Path, facts: dict[str, Any]) -> ModelFile:
    kinds = {"parity": Parity, "agreement": Agreement, "divergence": Divergence}
    made = {name: kind(**facts[name]) for name, kind in kinds.items() if facts.get(name)}
    return ModelFile(**{**facts, **made, "path": out / facts["path"]})
