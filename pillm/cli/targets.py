"""Turn what a person names on the command line into a teacher, a checkpoint or a model file, and find its runner."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm.artifacts import CONTRACT_FILE
from pillm.backends import Runner
from pillm.contract import Contract
from pillm.errors import ConfigError, DataError, MissingDependency
from pillm.models import is_remote
from pillm.options import parse_assignments
from pillm.plugins import missing_plugin, model_names, registry

if TYPE_CHECKING:
    from pillm.artifacts import Checkpoint, ModelFile
    from pillm.backends import Teacher
    from pillm.cli.terminal import Terminal

PREFERRED = {"gguf": "local", "checkpoint": "hf"}
_QUANT = re.compile(r"[-._]((?:I?Q|T?Q)[0-9][A-Z0-9_]*|B?F16|F32|MXFP4\w*)(?=[-._]|$)", re.IGNORECASE)
_NEXT_OPTION = re.compile(r",(?=[A-Za-z_][\w.]*=)")


def model_of(text: str, terminal: Terminal | None = None, only: Collection[str] | None = None) -> ModelFile | Checkpoint:
    """Return the model file or checkpoint that a path, a shipped model's name, or owner/name of a hub stands for.

    A hub's model is fetched, with its progress shown on the terminal; `only` names the files that will do. Raises DataError.
    """
    path = Path(text)
    if path.is_file():
        quant = _QUANT.search(path.stem)
        return pillm.ModelFile.of(path, quant[1].upper() if quant else "")
    if files := files_in(path):
        raise DataError(
            f"{text} is a folder of model files, not one model. Name the one that you mean: {', '.join(map(str, files))}."
        )
    if is_remote(text):
        with terminal.progress("fetch") if terminal else nullcontext() as progress:
            return pillm.fetch_model(text, only=only, progress=progress)
    folder = pillm.model_folder(text)
    if folder is None:
        missing_plugin("model", text)
        shipped = ", ".join(model_names()) or "none"
        raise DataError(f"{text} is neither a model file, nor a model folder, nor a shipped model (installed: {shipped}).")
    return pillm.Checkpoint(path=folder, name="" if path.is_dir() else text)


def files_in(folder: Path) -> list[Path]:
    """Return the .gguf files of an export's folder or of a run's; none of a folder that holds one model or is none."""
    if not folder.is_dir() or (folder / "config.json").is_file():
        return []
    return sorted(folder.glob("*.gguf")) or sorted(folder.glob("export/*.gguf"))


def subject_of(text: str, terminal: Terminal | None = None) -> Teacher | ModelFile | Checkpoint:
    """Return what is to be scored: a path, a shipped model, a hub's, or a teacher as NAME:option=value,option=value."""
    if Path(text).exists() or text in model_names() or (":" not in text and is_remote(text)):
        return model_of(text, terminal)
    if "/" in text.partition(":")[0] or text.endswith(".gguf"):
        raise DataError(f"{text} does not exist. Give a model file, a model folder, or a teacher as NAME:option=value.")
    name, options = name_and_options(text)
    return pillm.teacher(name, **options)


def name_and_options(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a backend that is written as NAME:option=value,option=value."""
    name, _, rest = text.partition(":")
    if rest and "=" not in rest.partition(":")[0]:  # distribution:name:options
        second, _, rest = rest.partition(":")
        name = f"{name}:{second}"
    return name, parse_assignments(_NEXT_OPTION.split(rest) if rest else ())


def runner_for(model: ModelFile | Checkpoint, name: str | None, options: dict[str, Any]) -> Runner:
    """Return the runner of that name, or without one the installed runner that reads such a model."""
    reads = "checkpoint" if isinstance(model, pillm.Checkpoint) else model.path.suffix.lstrip(".")
    if name is None:
        able = [
            found
            for found, claims in registry().provided("runner").items()
            if any(issubclass(cls, Runner) and reads in cls.reads for _, cls in claims)
        ]
        if not able:
            raise MissingDependency(
                f"no installed runner reads {'model folders' if reads == 'checkpoint' else f'.{reads} files'}. "
                "Install one: pip install pillm-llamacpp pillm-hf (from a checkout: ./plugins/pillm-hf ...)"
            )
        name = PREFERRED[reads] if PREFERRED.get(reads) in able else sorted(able)[0]
    runner = pillm.runner(name, **options)
    if reads not in runner.reads:
        raise ConfigError(f"runner {name!r} reads {', '.join(sorted(runner.reads))}, not {model.label}. Choose another one.")
    return runner


def contract_for(model: object, chosen: Mapping[str, Any]) -> Contract:
    """Return the contract that a model was trained under, else the plain one; what is chosen changes itself alone.

    `chosen` holds the options `schema_in_prompt` and `system`. Raises DataError for a damaged contract.json.
    """
    asked = {name: chosen[name] for name in ("schema_in_prompt", "system") if chosen.get(name) is not None}
    return replace(_recorded(model) or Contract(), **asked)


def contracts_for(models: Mapping[str, object], chosen: Mapping[str, Any]) -> dict[str, Contract]:
    """Return the contract to ask each model under: one for all, unless two of them were trained under different ones."""
    own = {name: contract_for(model, chosen) for name, model in models.items()}
    trained = [own[name] for name, model in models.items() if _recorded(model) is not None]
    agreed = bool(trained) and all(one == trained[0] for one in trained)
    return dict.fromkeys(models, trained[0]) if agreed else own


def contract_beside(path: Path) -> Contract:
    """Return the contract that a model folder, or a file's folder or run, says it was trained under; else the plain one."""
    return _recorded_in((path,) if path.is_dir() else _beside(path)) or Contract()


def _recorded(model: object) -> Contract | None:
    """Return what a model was told in training, or None where no contract.json says so."""
    if isinstance(model, pillm.Checkpoint):
        return _recorded_in((model.path,))
    return _recorded_in(_beside(model.path)) if isinstance(model, pillm.ModelFile) else None


def _beside(file: Path) -> tuple[Path, ...]:
    return file.parent, file.parent.parent / "train"


def _recorded_in(folders: tuple[Path, ...]) -> Contract | None:
    for folder in folders:
        if (folder / CONTRACT_FILE).is_file():
            found = Contract.read(folder / CONTRACT_FILE, "Copy it anew from where the model was trained, or train again.")
            return Contract(schema_in_prompt=found.schema_in_prompt, system=found.system)
    return None
