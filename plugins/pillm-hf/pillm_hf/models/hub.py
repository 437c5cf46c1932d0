"""Find a model: a folder, a name that a plugin ships, or a hub id pinned to one commit. Nothing here imports torch."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import pillm

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json", "special_tokens_map.json",
    "added_tokens.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt",
)  # fmt: skip
CONTENT_FILES = (*TOKENIZER_FILES, "config.json", "generation_config.json", "adapter_config.json")

COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"(?=.{3,96}$)[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a model lives: a folder on this machine, a hub repository at one commit, or both where it was downloaded."""

    folder: Path | None = None
    repository: str = ""
    commit: str = ""

    @property
    def label(self) -> str:
        """Return the model's name as answers carry it."""
        if self.repository:
            return f"{self.repository}@{self.commit[:12]}"
        return self.folder.resolve().name if self.folder else ""

    @property
    def identity(self) -> str:
        """Return what names the model's content: a hash of its files, or repository and commit."""
        if self.repository:
            return f"{self.repository}@{self.commit}"
        return f"sha256:{content_hash(self.folder)}" if self.folder else ""

    def fetch(self, progress: pillm.Progress | None = None) -> Path:
        """Return the model's folder, downloaded first where it is not here yet."""
        return self.folder or pillm.fetch_model(self.repository, self.commit, progress=progress).path

    def checkpoint(self) -> pillm.Checkpoint:
        """Return the model's folder with its name and, where it comes from a hub, its commit; downloaded first."""
        return pillm.Checkpoint(path=self.fetch(), name=self.label, origin=self.identity if self.repository else "")


def locate(model: str, revision: str | None = None) -> Source:
    """Return where a model is; a hub id is resolved to a commit, once per process.

    Raises DataError where nothing has that name, UnsafeError where it only comes with code or pickles, and Unavailable where
    the hub cannot be asked.
    """
    folder = _folder(model, revision)
    if folder is not None:
        return Source(folder=folder)
    found = pillm.find_model(model, revision)
    if found is None:
        raise pillm.DataError(
            f"no model {model!r}: it is not a folder here, no installed plugin ships it, and a model of the hub is "
            "written owner/name. Check the path."
        )
    return Source(repository=found.name, commit=found.commit)


def find_here(model: str, revision: str | None = None) -> Source | None:
    """Return where a model lies on this machine, or None; nothing is asked of a hub. Raises DataError like `locate`."""
    folder = _folder(model, revision)
    if folder is not None:
        return Source(folder=folder)
    found = pillm.find_model(model, revision, ask=False)
    if found is None:
        return None
    return Source(folder=pillm.fetch_model(found.name, found.commit).path, repository=found.name, commit=found.commit)


def describe(model: str, revision: str | None = None) -> Source:
    """Return where a model lies, with its config.json at least: of one that is not here that file alone is fetched.

    Raises what `locate` raises.
    """
    here = find_here(model, revision)
    if here is not None:
        return here
    found = locate(model, revision)
    folder = pillm.fetch_model(found.repository, found.commit, only=("config.json",)).path
    return Source(folder=folder, repository=found.repository, commit=found.commit)


def _folder(model: str, revision: str | None) -> Path | None:
    """Return a model's folder, or None where it is none; raise DataError for a file."""
    folder = pillm.model_folder(model)
    if folder is not None:
        if revision is not None:
            raise pillm.ConfigError(f"revision {revision!r}: {model!r} is a folder; only models of the hub have revisions.")
        return folder
    if model.endswith(".gguf") or Path(model).is_file():
        raise pillm.DataError(
            f"{model} is a file, and a model is a folder of config.json, *.safetensors and the tokenizer's files. Give the "
            "folder or the hub id that it was made from: a GGUF file is made to answer, and cannot be trained or read here."
        )
    return None


def require_model(model: str, revision: str | None = None) -> None:
    """Raise what `locate` raises, and DataError where a folder holds no model; nothing is downloaded, no weight read."""
    folder = locate(model, revision).folder
    if folder is None:
        return
    _require_config(folder)
    pillm.check_model_folder(folder)
    adapter = adapter_of(folder)
    if adapter is not None:
        base_of(adapter)
    elif not any(folder.glob("*.safetensors")):
        raise pillm.DataError(
            f"{folder} holds no weights as *.safetensors; other formats can run code and are not read. "
            "Fetch the model again, or save it with safetensors."
        )


def require_trainable(model: str, revision: str | None = None) -> None:
    """Raise what `require_model` raises, and DataError where a folder holds only an adapter: nothing can be merged into it."""
    require_model(model, revision)
    folder = locate(model, revision).folder
    if folder is not None and adapter_of(folder) is not None:
        raise pillm.DataError(
            f"{folder} holds an adapter and no weights of its own, so no student can start from it. Give the folder that it "
            f"was merged into, or its base {base_of(adapter_of(folder) or folder).label}."
        )


def content_hash(folder: Path) -> str:
    """Return one sha256 over the weights, tokenizer and configuration of a model folder, its adapter's base included."""
    _require_config(folder)
    listing = _listing(folder)
    adapter = adapter_of(folder)
    if adapter is not None:
        listing["base"] = base_of(adapter).identity
        if adapter != folder:
            listing |= {f"{adapter.name}/{name}": value for name, value in _listing(adapter).items()}
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def weights_hash(folder: Path) -> str:
    """Return one sha256 over the weights of a model folder."""
    listing = {path.name: _file_hash(path) for path in sorted(folder.glob("*.safetensors"))}
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _require_config(folder: Path) -> None:
    if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        raise pillm.DataError(
            f"{folder} is not a model folder: it has no config.json. "
            "Give a folder with config.json, *.safetensors and the tokenizer's files."
        )


def adapter_of(folder: Path) -> Path | None:
    """Return where a folder without weights of its own keeps its adapter, or None."""
    if any(folder.glob("model*.safetensors")):
        return None
    return next((place for place in (folder, folder / "adapter") if (place / "adapter_config.json").is_file()), None)


def base_of(adapter: Path) -> Source:
    """Return the model that an adapter was trained on; raise DataError where its configuration does not say."""
    return locate(*pillm.named_base(adapter))


def _listing(folder: Path) -> dict[str, str]:
    names = {path.name for path in folder.glob("*.safetensors*")}
    names |= {name for name in CONTENT_FILES if (folder / name).is_file()}
    return {name: _file_hash(folder / name) for name in sorted(names)}


def _file_hash(path: Path) -> str:
    stat = path.stat()
    return _hash_at(path.resolve(), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _hash_at(path: Path, mtime: int, size: int) -> str:  # a changed time or size is another entry
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse(error: Exception, repository: str, revision: str | None, kind: str = "model") -> NoReturn:
    """Raise what the hub's refusal means for whoever asked: DataError for what is not there, else Unavailable."""
    from huggingface_hub import errors

    at = f"{repository}@{revision}" if revision else repository
    if isinstance(error, errors.GatedRepoError):
        raise pillm.Unavailable(
            f"{at} is gated. Accept its terms on its page, then set HF_TOKEN to a token of that account."
        ) from error
    if isinstance(error, errors.RevisionNotFoundError):
        raise pillm.DataError(f"{repository} has no revision {revision!r}. Give a branch, a tag or a commit hash.") from error
    if isinstance(error, errors.RepositoryNotFoundError):
        raise pillm.DataError(
            f"the hub has no {kind} {repository!r} that you may see. Check the spelling; a private {kind} needs HF_TOKEN."
        ) from error
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.RevisionResolutionError, errors.OfflineModeIsEnabled)):
        raise pillm.Unavailable(
            f"{at} is not complete in the local cache and the hub is out of reach (HF_HUB_OFFLINE or no network). "
            f"Go online once and repeat the command, or give a {'folder' if kind == 'model' else 'file'}."
        ) from error
    raise pillm.Unavailable(
        f"the hub did not give {at} ({type(error).__name__}). What was downloaded is kept: repeat the command later."
    ) from error
