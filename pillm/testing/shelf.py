"""A source and a publisher on a folder of this machine, which PILLM_SHELF names: `owner/name/` holds a model's files.

Install them for a test as a plugin whose source is `SHELF`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from pillm.artifacts import sha256_file
from pillm.errors import ConfigError, DataError, Unavailable
from pillm.hookspecs import hookimpl
from pillm.hubs import Published, Publisher, Release, RemoteFile, RemoteModel, Source, Standing
from pillm.progress import Progress

SHELF = "from pillm.testing.shelf import *\n"
"""The source of a plugin that provides both."""

__all__ = ["ShelfPublisher", "ShelfSource", "pillm_publishers", "pillm_sources"]


def _shelf() -> Path:
    return Path(os.environ["PILLM_SHELF"])


class ShelfSource(Source):
    """Fetches models from a folder."""

    name: ClassVar[str] = "shelf"

    def claims(self, name: str) -> bool:
        """Say whether a text has one slash inside."""
        return name.strip("/").count("/") == 1 and not Path(name).is_absolute() and ".." not in name

    def find(self, name: str, revision: str | None = None) -> RemoteModel:
        """Return the model; its commit is a hash of its files."""
        if (_shelf() / "closed").exists():
            raise Unavailable("the shelf is closed. Come again.")
        files = _files(_shelf() / name)
        if not files:
            raise DataError(f"the shelf has no model {name!r}. Put one there.")
        commit = hashlib.sha1(repr(files).encode(), usedforsecurity=False).hexdigest()
        if revision not in (None, "main", commit):
            raise DataError(f"{name} has no revision {revision!r}. Give main.")
        return RemoteModel(name=name, commit=commit, revision=revision or "", files=files, left_out=("evil.py",))

    def find_here(self, name: str, revision: str | None = None) -> RemoteModel | None:
        """Return the model where it was fetched before."""
        places = sorted((_shelf() / "fetched").glob(f"{name.replace('/', '--')}-*"))
        return RemoteModel(name=name, commit=places[0].name[-40:], folder=places[0]) if places else None

    def fetch(self, model: RemoteModel, progress: Progress, only: Collection[str] | None = None) -> Path:
        """Copy the files."""
        if model.folder:
            return model.folder
        place = _shelf() / "fetched" / f"{model.name.replace('/', '--')}-{model.commit}"
        place.mkdir(parents=True, exist_ok=True)
        wanted = [file for file in model.files if only is None or file.name in only]
        progress.start(sum(file.bytes for file in wanted), "bytes", f"fetch {model.label}")
        for file in wanted:
            shutil.copyfile(_shelf() / model.name / file.name, place / file.name)
            progress.advance(file.bytes)
        return place


class ShelfPublisher(Publisher):
    """Publishes in a folder."""

    name: ClassVar[str] = "shelf"

    def look(self, release: Release) -> Standing:
        """Return what the folder holds."""
        if (_shelf() / "closed").exists():
            raise Unavailable("the shelf is closed. Come again.")
        if release.repository.count("/") != 1:
            raise ConfigError(f"{release.repository!r} is no name. Write owner/name.")
        place = _shelf() / release.repository
        there = {file.name: file.digest for file in _files(place)}
        states = {
            file.name: "new" if file.name not in there else "same" if there[file.name] == f"sha256:{file.sha256}" else "changed"
            for file in release.files
        }
        return Standing(exists=place.is_dir(), states=states)  # type: ignore[arg-type]

    def publish(self, release: Release, progress: Progress) -> Published:
        """Copy the files that are new or changed."""
        standing, place = self.look(release), _shelf() / release.repository
        place.mkdir(parents=True, exist_ok=True)
        changed = [file for file in release.files if standing.states[file.name] != "same"]
        progress.start(sum(file.bytes for file in changed), "bytes", f"push to {release.repository}")
        for file in changed:
            shutil.copyfile(file.path, place / file.name)
            progress.advance(file.bytes)
        commit = hashlib.sha1(repr(_files(place)).encode(), usedforsecurity=False).hexdigest()
        return Published(
            address=str(place),
            commit=commit,
            files=len(release.files),
            sent=len(changed),
            public=release.public,
            tag=release.tag,
        )


@hookimpl
def pillm_sources() -> list[type[Source]]:
    """Return the source `shelf`."""
    return [ShelfSource]


@hookimpl
def pillm_publishers() -> list[type[Publisher]]:
    """Return the publisher `shelf`."""
    return [ShelfPublisher]


def _files(folder: Path) -> tuple[RemoteFile, ...]:
    if not folder.is_dir():
        return ()
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return tuple(RemoteFile(name=path.name, bytes=path.stat().st_size, digest=f"sha256:{sha256_file(path)}") for path in paths)
