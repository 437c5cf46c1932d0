"""The source `hub`: owner/name, at one commit, the files that a student needs and nothing that could run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from pydantic.config import JsonDict

import pillm
from pillm_hub.cache import WEIGHTS, Cache
from pillm_hub.checking import require_harmless, shards_of
from pillm_hub.download import TIMEOUT_SECONDS, Meter, fetch_all
from pillm_hub.library import hub_api
from pillm_hub.names import COMMIT, DIGEST, is_repository, is_revision
from pillm_hub.refusals import failures, refuse
from pillm_hub.wanted import MODEL_FILE, Listed, choose, left_out, named, require_weights

NOT_IN_KEY: JsonDict = {"key": False}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the hub said of a revision: the commit that it is, and the files of that commit."""

    commit: str
    listing: tuple[Listed, ...]


class HubSource(pillm.Source):
    """Fetches models of the Hugging Face hub by owner/name, pinned to a commit: no code, no pickle, every hash compared."""

    name: ClassVar[str] = "hub"
    endpoint: str | None = Field(
        None, description="Address of the hub; by default HF_ENDPOINT, else huggingface.co.", json_schema_extra=NOT_IN_KEY
    )
    cache: Path | None = Field(
        None, description="Folder of the cache; by default HF_HUB_CACHE, else that of HF_HOME.", json_schema_extra=NOT_IN_KEY
    )

    def claims(self, name: str) -> bool:
        """Say whether a text has the form owner/name."""
        return is_repository(name)

    def find(self, name: str, revision: str | None = None) -> pillm.RemoteModel:
        """Return the model at the commit that a revision is now; ask the hub once per process, download nothing.

        Raises DataError where it is not there, has moved or has no weights, UnsafeError where its weights are pickles, and
        Unavailable where the hub cannot be asked and the model is not whole on this machine.
        """
        _require_revision(name, revision)
        here = self._cache(name).commit_of(revision) if revision and COMMIT.fullmatch(revision) else None
        folder = self._cache(name).whole(here) if here else None
        if here and folder:  # a commit never changes: nobody need be asked
            return pillm.RemoteModel(name=name, commit=here, revision=here, folder=folder)
        try:
            asked = _ask(self.endpoint, name, revision)
        except pillm.Unavailable:
            found = self.find_here(name, revision)
            if found is None:
                raise
            return found
        return self._described(name, revision, asked)

    def find_here(self, name: str, revision: str | None = None) -> pillm.RemoteModel | None:
        """Return the model where all of it is in the cache, at the commit that the revision was when last asked."""
        _require_revision(name, revision)
        commit = self._cache(name).commit_of(revision)
        folder = self._cache(name).whole(commit) if commit else None
        if commit is None or folder is None:
            return None
        return pillm.RemoteModel(name=name, commit=commit, revision=revision or "", folder=folder)

    def fetch(self, model: pillm.RemoteModel, progress: pillm.Progress, only: Collection[str] | None = None) -> Path:
        """Return the folder of a model, with what is missing fetched first: small files, which are looked into, then weights.

        Of a repository of model files those that `only` names are fetched, with what stands beside them; without it DataError
        says which there are. Raises UnsafeError for files that ask for code, that lead elsewhere or whose bytes are not the
        listed ones, StorageError where the disk is too small, Unavailable where the download was cut: what came is kept, and
        the same call goes on.
        """
        held = self._cache(model.name)
        if any(name.endswith(MODEL_FILE) for name in (*(only or ()), *(file.name for file in model.files))):
            only = named((file.name for file in model.files), only, model.label)
        if not model.files:  # it was found whole on this machine
            if not COMMIT.fullmatch(model.revision):
                said = f"{model.label} is taken from this machine: the hub could not be asked whether"
                progress.note(f"{said} {model.revision or 'main'} is another commit now.")
            return self._looked_into(held, model, None)
        small = [file for file in model.files if not file.name.endswith(".safetensors") and (only is None or file.name in only)]
        weights = [file for file in model.files if file.name.endswith(".safetensors")] if only is None else []
        missing = sum(file.bytes for file in (*small, *weights) if not held.has(file.digest, file.bytes))
        held.require_space(missing, model.label)
        total = sum(file.bytes for file in (*small, *weights))
        progress.start(total, "bytes", f"fetch {model.label}" if missing else f"{model.label} is here")
        meter = Meter(progress, total)
        fetch_all(held, model.commit, small, meter, self.endpoint)
        folder = self._looked_into(held, model, [file.name for file in small])
        if only is None:
            fetch_all(held, model.commit, self._shards(folder, model, weights), meter, self.endpoint)
            if (lacking := held.lacking(model.commit)) == WEIGHTS:
                raise pillm.DataError(f"{model.label} lacks {lacking}. Choose another revision.")
            if lacking:
                progress.note(f"{model.label} has no tokenizer of its own; it serves where another folder brings one.")
            for (endpoint, name, revision), asked in _ASKED.items():
                if (endpoint, name, asked.commit) == (self.endpoint, model.name, model.commit):
                    held.remember(revision or "", model.commit)
        if missing and model.left_out:
            progress.note(f"{model.label}: never fetched, for it could run: {', '.join(model.left_out)}")
        return folder

    def _shards(self, folder: Path, model: pillm.RemoteModel, weights: list[pillm.RemoteFile]) -> list[pillm.RemoteFile]:
        """Return the weights to fetch: the shards that the index names, where there is one, and the files beside it."""
        shards = shards_of(folder, model.label)
        lost = shards - {file.name for file in model.files}
        if lost:
            raise pillm.DataError(f"{model.label} lacks {min(lost)}, which its index names. Choose another revision.")
        return [file for file in weights if not shards or file.name in shards or "-of-" not in file.name]

    def _looked_into(self, held: Cache, model: pillm.RemoteModel, names: list[str] | None) -> Path:
        """Return the folder of a commit once its small files were found harmless."""
        folder = held.snapshot(model.commit)
        for path in [folder / name for name in names] if names is not None else sorted(folder.glob("*.json")):
            require_harmless(path, model.label)
            if path.name.endswith(MODEL_FILE):
                pillm.check_model_file(path)
        shards_of(folder, model.label)
        return folder

    def _described(self, name: str, revision: str | None, asked: _Asked) -> pillm.RemoteModel:
        at, held = f"{name}@{asked.commit[:12]}", self._cache(name)
        require_weights(asked.listing, at)
        files = tuple(
            pillm.RemoteFile(name=file.path, bytes=file.bytes, digest=file.digest, here=held.has(file.digest, file.bytes))
            for file in choose(asked.listing)
        )
        return pillm.RemoteModel(
            name=name,
            commit=asked.commit,
            revision=revision or "",
            files=files,
            left_out=left_out(asked.listing),
            folder=held.whole(asked.commit) if all(file.here for file in files) else None,
        )

    def _cache(self, name: str) -> Cache:
        return Cache.of(name, self.cache)


def _require_revision(name: str, revision: str | None) -> None:
    if revision is not None and not is_revision(revision):
        raise pillm.DataError(f"{name} has no revision {revision[:80]!r}. Give a branch, a tag or a commit hash.")


_ASKED: dict[tuple[str | None, str, str | None], _Asked] = {}
"""What the hub said in this process: a branch that moves changes nothing."""


def _ask(endpoint: str | None, name: str, revision: str | None) -> _Asked:
    """Return the commit that a revision is, and its files; asked once."""
    if (endpoint, name, revision) in _ASKED:
        return _ASKED[endpoint, name, revision]
    try:
        info = hub_api(endpoint).model_info(name, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
        if info.gated:  # anybody is told of it; whether its files are given is better known before hours of other work
            hub_api(endpoint).auth_check(name)
    except failures() as error:
        refuse(error, name, revision)
    if str(info.id).lower() != name.lower():
        raise pillm.DataError(
            f"{name} has moved: it is called {info.id} now. Nothing was fetched. "
            "Write the new name, once you know that it is meant."
        )
    commit = str(info.sha)
    if not COMMIT.fullmatch(commit):
        raise pillm.Unavailable(f"the hub named no commit for {name}. Try again, or give a commit hash as revision.")
    asked = _Asked(commit, tuple(_listed(sibling, name) for sibling in info.siblings or ()))
    _ASKED[endpoint, name, revision] = _ASKED[endpoint, name, commit] = asked
    return asked


def _listed(sibling: Any, at: str) -> Listed:
    """Return a file as the hub lists it: large ones by their sha256, small ones as git names their content."""
    digest = f"sha256:{sibling.lfs.sha256}" if sibling.lfs else f"git:{sibling.blob_id}"
    if not DIGEST.fullmatch(digest):  # it names a file of the cache
        raise pillm.UnsafeError(f"{at}: the hub lists a file without a hash, so nothing could be proved. Nothing was fetched.")
    return Listed(str(sibling.rfilename), int(sibling.size or 0), digest)
