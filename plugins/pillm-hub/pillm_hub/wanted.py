"""Which files of a repository are fetched: safetensors or GGUF, tokenizer, configuration; never code, never a pickle."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import pillm
from pillm_hub.names import is_plain_file

ALLOWED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
MODEL_FILE = ".gguf"
BESIDE = ("SHA256SUMS", "Modelfile", "README.md", "LICENSE", "NOTICE", "*.gbnf")
"""What stands beside model files, and is fetched with them."""
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
    """Return the files to fetch, small ones first; of two copies of the weights only one.

    A repository without safetensors is one of model files: all of them are told, and a fetch takes those that are named.
    """
    plain = [file for file in listing if is_plain_file(file.path)]
    files = {file.path: file for file in plain if _allowed(file.path)}
    weights = _weights(files)
    if not weights:
        patterns = (*ALLOWED, *BESIDE, f"*{MODEL_FILE}")
        files = {file.path: file for file in plain if _allowed(file.path, patterns)}
    small = [file for name, file in files.items() if not name.endswith(".safetensors")]
    return [*sorted(small, key=lambda file: file.path), *sorted(weights, key=lambda file: file.path)]


def left_out(listing: Iterable[Listed]) -> tuple[str, ...]:
    """Return the files that are code or could run some: they are never fetched."""
    return tuple(sorted(file.path for file in listing if PurePosixPath(file.path).suffix.lower() in (*CODE, *PICKLES)))


def require_weights(listing: Iterable[Listed], at: str) -> None:
    """Raise UnsafeError where the weights are pickles alone, DataError where there are none that can be read."""
    paths = [file.path for file in listing]
    if any(path.endswith((".safetensors", MODEL_FILE)) and is_plain_file(path) for path in paths):
        return
    pickled = [path for path in paths if PurePosixPath(path).suffix.lower() in PICKLES]
    if pickled:
        raise pillm.UnsafeError(
            f"{at} has its weights only in a format that can run code ({pickled[0]}), and that is never read. Nothing was "
            "fetched. Choose a repository or a revision with *.safetensors; the hub's conversion space makes them."
        )
    raise pillm.DataError(
        f"{at} has neither *.safetensors nor *.gguf in its top folder, and nothing else is read. Choose another."
    )


def named(files: Iterable[str], only: Collection[str] | None, at: str) -> frozenset[str]:
    """Return what to fetch of a repository of model files, given the names that will do: these, and what stands beside them.

    Raises DataError, with the names that there are, where no model file is named or one is not there.
    """
    there = sorted(files)
    models = [name for name in there if name.endswith(MODEL_FILE)]
    asked = [name for name in only or () if name.endswith(MODEL_FILE)]
    if not models:
        raise pillm.DataError(f"{at} has no {asked[0]!r}: it holds no model files, but *.safetensors. Leave --file out.")
    unknown = next((name for name in asked if name not in models), None)
    if unknown or not asked:
        said = f"{at} has no {unknown!r}" if unknown else f"{at} holds model files, and none of them is named"
        raise pillm.DataError(
            f"{said}. It has {', '.join(models)}. Name one, pillm fetch {at.partition('@')[0]} --file {models[0]}, and use the "
            "path that it prints."
        )
    return frozenset(name for name in there if name in asked or name not in models)


def _allowed(name: str, patterns: tuple[str, ...] = ALLOWED) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _weights(files: dict[str, Listed]) -> list[Listed]:
    """Return the weights: the shards of the index, else the one file, else the adapter, else whatever there is."""
    every = [file for name, file in files.items() if name.endswith(".safetensors")]
    adapter = [file for file in every if file.path == "adapter_model.safetensors"]
    if INDEX in files:
        shards = [file for file in every if fnmatchcase(file.path, "model-*-of-*.safetensors")]
        return [*(shards or every), *(adapter if shards else [])]
    one = [file for file in every if file.path == "model.safetensors"]
    return [*one, *adapter] or every
