"""What a fetched file may not say: that code must be run, or that a shard lies outside the model's folder."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pillm
from pillm_hub.names import is_plain_file
from pillm_hub.wanted import INDEX

MOST_BYTES = 64 * 2**20
VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")
"""Files whose keys are tokens: any word may stand there, and none is a setting."""


def require_harmless(path: Path, at: str) -> None:
    """Raise UnsafeError where a JSON file asks for code to be run; raise DataError where it is no JSON."""
    if path.suffix != ".json" or path.name in VOCABULARIES:
        return
    document = read_json(path, at)
    if path.name.endswith(".index.json"):
        return  # its keys are the names of tensors
    if place := pillm.asked_code(document, path.name, _model_type(path, at)):
        raise pillm.UnsafeError(
            f"{at}: {path.name} asks for Python code of the repository ({place}), and none is ever run. Nothing of it was "
            "opened. Use a model type that transformers has itself, or this one converted to such."
        )


def _model_type(path: Path, at: str) -> str:
    """Return what the config.json in a file's folder says that the model is; empty where there is none."""
    config = path.with_name("config.json")
    document = read_json(config, at) if config.is_file() else None
    return str(document.get("model_type")) if isinstance(document, dict) else ""


def shards_of(folder: Path, at: str) -> frozenset[str]:
    """Return the weight files that a folder's index names; raise UnsafeError for a name that is not one of its own files."""
    index = folder / INDEX
    if not index.is_file():
        return frozenset()
    document = read_json(index, at)
    named = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise pillm.DataError(f"{at}: {INDEX} has no weight_map of tensors to files. Choose another revision.")
    for name in named.values():
        if not is_plain_file(name) or not name.endswith(".safetensors"):
            raise pillm.UnsafeError(
                f"{at}: {INDEX} sends the reader to {name[:80]!r}, which is no *.safetensors file of this repository. "
                "Nothing of it was opened. Use another repository, and tell the hub."
            )
    return frozenset(named.values())


def require_own_file(path: Path, inside: Path, at: str) -> None:
    """Raise UnsafeError where a file of the cache is no plain file, or leads out of the cache; nothing is opened."""
    try:
        real = path.resolve(strict=True)
        kind = real.stat().st_mode
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise pillm.UnsafeError(
            f"{at}: {path} leads nowhere ({type(error).__name__}). Remove {path}, then repeat the command."
        ) from error
    if not real.is_relative_to(inside.resolve()):
        raise pillm.UnsafeError(
            f"{at}: {path} leads out of the cache, to {real}. It was not opened. Remove {path}, then repeat."
        )
    if not stat.S_ISREG(kind):
        raise pillm.UnsafeError(
            f"{at}: {path} is a pipe, a device or a folder, not a file. It was not opened. Remove it, then repeat."
        )


def read_json(path: Path, at: str) -> Any:
    """Return a JSON document of bounded size and depth; raise DataError or UnsafeError."""
    if path.stat().st_size > MOST_BYTES:
        raise pillm.UnsafeError(
            f"{at}: {path.name} has {path.stat().st_size:,} bytes, which no configuration needs. It was not read."
        )
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise pillm.UnsafeError(f"{at}: {path.name} is nested deeper than any configuration. It was not used.") from error
    except ValueError as error:
        raise pillm.DataError(f"{at}: {path.name} is no JSON ({type(error).__name__}). Choose another revision.") from error
