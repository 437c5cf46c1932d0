"""How the activations before each weight go together: their mean products, which say what a rounding error does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import pillm
from pillm_llamacpp.quantizing.imatrix import follow
from pillm_llamacpp.workers.client import Worker

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
_FILES = "files.json"
BLOCK = 1024
"""Columns whose products are kept with each other; wider weights have several such blocks, so that memory stays linear."""


@dataclass(frozen=True, slots=True)
class Moments:
    """The mean products of the activations before each weight, on disk; weights that share their input share a file."""

    files: Mapping[str, Path]

    def blocks(self, name: str) -> list[Array]:
        """Return square blocks along the diagonal that cover a weight's columns; none where they were not gathered."""
        path = self.files.get(name)
        if path is None:
            return []
        with np.load(path, allow_pickle=False) as found:
            return [found[f"arr_{number}"] for number in range(len(found.files))]

    @classmethod
    def read(cls, folder: Path) -> Moments:
        """Return what `gather` left in a folder; raise OSError or ValueError where that is not whole."""
        files = json.loads((folder / _FILES).read_text("utf-8"))
        return cls({name: folder / file for name, file in files.items()})


def gather(
    model: Path, texts: Sequence[str], *, threads: int, folder: Path, progress: pillm.Progress, context: int = 512
) -> Moments:
    """Read conversations with an F16 or F32 file and keep its activations' mean products in `folder`.

    Raises DataError where the model cannot be read, BackendError where llama.cpp gives up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Worker(f"the activations of {model.name}") as worker:
        worker.send({
            "op": "moments", "model": str(model), "texts": list(texts), "threads": threads, "context": context,
            "folder": str(folder), "block": BLOCK,
        })  # fmt: skip
        last = follow(worker, progress, f"reading the activations of {model.name} on {len(texts)} conversations")
    (folder / _FILES).write_text(json.dumps(last["files"]), "utf-8")
    return Moments.read(folder)
