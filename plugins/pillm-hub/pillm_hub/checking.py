"""What a fetched file may not say: that code must be run, or that a shard lies outside the model's folder."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pillm
from pillm_hub.names import is_plain_file
from pillm_hub.wanted import INDEX

MOST_BYTES = 64 * 2**20
VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")
"""Files whose keys are tokens: any word may stand there, and none is a setting."""
NATIVE = frozenset({
    "llama", "mistral", "ministral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2", "gemma3", "gemma3_text", "phi", "phi3",
    "granite", "olmo2", "bert", "modernbert",
})  # fmt: skip
"""Model types that transformers and llama.cpp know themselves: the code that such a repository also has is not needed."""


def require_harmless(path: Path, at: str) -> None:
    """Raise UnsafeError where a JSON file asks for code to be run; raise DataError where it is no JSON."""
    if path.suffix != ".json" or path.name in VOCABULARIES:
        return
    document = read_json(path, at)
    if path.name.endswith(".index.json"):
        return  # its keys are the names of tensors
    kind = str(document.get("model_type")) if isinstance(document, dict) and path.name == "config.json" else ""
    for place, key, value in _settings(document):
        if key == "trust_remote_code" and value not in (False, None):
            raise pillm.UnsafeError(
                f"{at}: {path.name} says {place}{key}={value!r}, which would run code of the repository. Nothing of it was "
                "opened. Use a model that needs no code of its own."
            )
        if key == "auto_map" and value and not (kind in NATIVE and not place and _stays_inside(value)):
            raise pillm.UnsafeError(
                f"{at}: {path.name} names Python code of its own ({place}auto_map), and no code of a repository is run. "
                "Nothing of it was opened. Use a model type that transformers has itself, or this one converted to such."
            )


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


def _stays_inside(value: Any) -> bool:
    """Say whether an auto_map names only classes of its own repository, which are left out, and none of another one."""
    classes = value.values() if isinstance(value, dict) else [value]
    flat = [each for one in classes for each in (one if isinstance(one, list) else [one])]
    return all(each is None or (isinstance(each, str) and "--" not in each and "/" not in each) for each in flat)


def _settings(document: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield every key of a document with the place where it stands, however deep, without recursion."""
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                yield place, key, item
                waiting.append((f"{place}{key}.", item))
        elif isinstance(value, list):
            waiting += [(f"{place}{number}.", item) for number, item in enumerate(value)]
