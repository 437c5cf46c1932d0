"""Find a model by what a person calls it: a folder, a name that a plugin ships, or a name of a source, pinned to a commit."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, cast

from pillm.artifacts import Checkpoint
from pillm.errors import ConfigError, DataError, PluginError
from pillm.hubs import RemoteModel, Source
from pillm.plugins import build, missing_plugin, model_folder, model_names, registry
from pillm.progress import Progress

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def find_model(name: str, revision: str | None = None, *, ask: bool = True) -> RemoteModel | None:
    """Return a model of a source, such as owner/name or owner/name@revision, at one commit; None where it is none.

    Nothing is downloaded; without `ask` nothing is asked either, and a model that is not on this machine is None too.
    Raises ConfigError for two revisions, and what `Source.find` raises.
    """
    bare, revision = _parted(name, revision)
    source = _source(bare, revision)
    if source is None:
        return None
    return source.find(bare, revision) if ask else source.find_here(bare, revision)


def fetch_model(
    name: str | Path, revision: str | None = None, *, only: Collection[str] | None = None, progress: Progress | None = None
) -> Checkpoint:
    """Return the folder of a model, fetched first where it is one of a source and not on this machine.

    `only` names the files that will do, such as `config.json`. Raises DataError where nothing has that name, and what
    `Source.fetch` raises.
    """
    folder = model_folder(name)
    if folder is not None:
        if revision is not None:
            raise ConfigError(f"revision {revision!r}: {str(name)!r} is a folder; only models of a source have revisions.")
        return Checkpoint(path=folder, name="" if Path(name).is_dir() else str(name))
    bare, revision = _parted(str(name), revision)
    source = _source(bare, revision)
    if source is None:
        raise DataError(_unknown(str(name)))
    model = source.find(bare, revision)
    path = source.fetch(model, progress or Progress("fetch"), only)
    return Checkpoint(path=path, name=model.name.rpartition("/")[2], origin=model.identity)


class NamedBase(NamedTuple):
    """The model that an adapter says that it was trained on: a folder or a name, and the commit of a hub's model."""

    name: str
    revision: str | None


def named_base(adapter: Path) -> NamedBase:
    """Return the model that an adapter's folder names as its base; raise DataError where it names none."""
    path = adapter / "adapter_config.json"
    try:
        settings = json.loads(path.read_text("utf-8"))
        name, revision = settings["base_model_name_or_path"], settings.get("revision")
        if not isinstance(name, str) or not name:
            raise ValueError("it is no text")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} names no base_model_name_or_path. Save the adapter again with its base.") from error
    return NamedBase(name, str(revision) if revision else None)


def is_remote(name: str) -> bool:
    """Say whether a text is no folder here and no shipped name, and an installed source has such names."""
    bare, revision = _parted(name, None)
    return not Path(name).exists() and name not in model_names() and _source(bare, revision) is not None


def _parted(name: str, revision: str | None) -> tuple[str, str | None]:
    """Return a name without its @revision, and the revision."""
    bare, sign, said = name.partition("@")
    if sign and not said:
        raise ConfigError(f"{name!r} names no revision after the @. Write owner/name@revision, or leave the @ out.")
    if sign and revision not in (None, said):
        raise ConfigError(f"{name!r} and revision {revision!r} are two revisions. Give one of them.")
    return bare, said if sign else revision


def _source(bare: str, revision: str | None) -> Source | None:
    """Return the source whose name this is; a path into a folder that is here is a path, unless it has a revision."""
    folder = Path(bare).parent
    if revision is None and folder != Path() and folder.is_dir():
        return None
    found = {}
    for use, claims in registry().provided("source").items():
        for status, _ in claims:
            source = cast(Source, build("source", f"{status.distribution}:{use}" if len(claims) > 1 else use, {}))
            if source.claims(bare):
                found[status.distribution] = source
    if len(found) > 1:
        raise PluginError(f"{' and '.join(found)} both have models called like {bare!r}. Uninstall one of them.")
    if not found and _HUB_NAME.fullmatch(bare) and not bare.endswith(".gguf"):
        missing_plugin("source", "hub")
    return next(iter(found.values()), None)


def _unknown(name: str) -> str:
    shipped = ", ".join(model_names()) or "none"
    return f"no model {name!r}: neither a folder here, nor a shipped model (installed: {shipped}), nor owner/name of a hub."
