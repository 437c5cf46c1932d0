"""Which files of a repository are fetched: safetensors, tokenizer and configuration; never code, never a pickle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import pillm
from pillm_hub.names import is_plain_file

ALLOWED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
INDEX = "model.safetensors.index.json"
CODE = (".py", ".pyc", ".so", ".sh")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".h5", ".keras", ".mar", ".msgpack")
"""Formats that can run code when they are loaded, or that nothing here reads."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as the hub lists it: its path in the repository, its size, and what its bytes must be."""

    path: str
    bytes: int
    digest: str


def choose(listing: Iterable[Listed]) -> list[Listed]:
    """Return the files to fetch, small ones first; of two copies of the weights only one."""
    files = {file.path: file for file in listing if is_plain_file(file.path) and _allowed(file.path)}
    weights = _weights(files)
    small = [file for name, file in files.items() if not name.endswith(".safetensors")]
    return [*sorted(small, key=lambda file: file.path), *sorted(weights, key=lambda file: file.path)]


def left_out(listing: Iterable[Listed]) -> tuple[str, ...]:
    """Return the files that are code or could run some: they are never fetched."""
    return tuple(sorted(file.path for file in listing if PurePosixPath(file.path).suffix.lower() in (*CODE, *PICKLES)))


def require_weights(listing: Iterable[Listed], at: str) -> None:
    """Raise UnsafeError where the weights are pickles alone, DataError where there are none that can be read."""
    paths = [file.path for file in listing]
    if any(path.endswith(".safetensors") and is_plain_file(path) for path in paths):
        return
    pickled = [path for path in paths if PurePosixPath(path).suffix.lower() in PICKLES]
    if pickled:
        raise pillm.UnsafeError(
            f"{at} has its weights only in a format that can run code ({pickled[0]}), and that is never read. Nothing was "
            "fetched. Choose a repository or a revision with *.safetensors; the hub's conversion space makes them."
        )
    raise pillm.DataError(
        f"{at} has no safetensors weights in its top folder, and no others are read. Choose one that has *.safetensors."
    )


def _allowed(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in ALLOWED)


def _weights(files: dict[str, Listed]) -> list[Listed]:
    """Return the weights: the shards of the index, else the one file, else the adapter, else whatever there is."""
    every = [file for name, file in files.items() if name.endswith(".safetensors")]
    adapter = [file for file in every if file.path == "adapter_model.safetensors"]
    if INDEX in files:
        shards = [file for file in every if fnmatchcase(file.path, "model-*-of-*.safetensors")]
        return [*(shards or every), *(adapter if shards else [])]
    one = [file for file in every if file.path == "model.safetensors"]
    return [*one, *adapter] or every
