"""The tensors of a folder's *.safetensors files: where each lies, read a few rows at a time and never as a whole."""

from __future__ import annotations

import json
import math
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pillm
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = ("F32", "F16", "BF16")


class Stored(NamedTuple):
    """A tensor in a file; the last of its dimensions is the one whose values lie side by side."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int

    @property
    def columns(self) -> int:
        """Return how many values a row has."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """Return how many rows there are."""
        return math.prod(self.shape[:-1])

    @property
    def nbytes(self) -> int:
        """Return how many bytes the tensor takes in its file."""
        return math.prod(self.shape) * _BYTES[self.dtype]


def stored(folder: Path) -> dict[str, Stored]:
    """Return a model's tensors by name, in the order in which the converter writes them.

    Raises Refusal where a file is damaged, missing, or not what the index says.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return _all(sorted(folder.glob("model*.safetensors")), folder)
    told = _json(index.read_bytes(), index).get("weight_map")
    if not isinstance(told, dict) or not all(isinstance(name, str) for name in told.values()):
        raise Refusal("data", f"{index} has no weight_map that says which file holds which tensor. Save the model again.")
    names = sorted(set(told.values()))
    if strange := [name for name in names if Path(name).name != name]:
        raise Refusal("unsafe", f"{index} names a file outside its folder ({strange[0]}). Nothing was read from it.")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise Refusal("data", f"{folder} lacks {', '.join(missing)}, which {index.name} names. Fetch the model again.")
    found = _all((folder / name for name in names), folder)
    if strange := sorted(set(told) ^ set(found)):
        raise Refusal("data", f"{index.name} and the files of {folder} disagree over {strange[0]}. Save the model again.")
    return found


def _all(paths: Iterable[Path], folder: Path) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    for path in paths:
        found |= tensors(path)
    if not found:
        raise Refusal("data", f"{folder} holds no tensors in model*.safetensors.")
    return found


def tensors(path: Path) -> dict[str, Stored]:
    """Return the tensors of one file, sorted by name; raise Refusal, naming the file, where it is damaged."""
    try:
        found = pillm.stored_tensors(path)
    except pillm.DataError as error:
        raise Refusal("data", str(error)) from error
    return {name: _stored(name, found[name]) for name in sorted(found)}


def _stored(name: str, told: pillm.StoredTensor) -> Stored:
    if told.dtype not in _BYTES:
        raise Refusal("uncovered", f"the tensor {name} is stored as {told.dtype}")
    if min(told.shape, default=1) < 1:
        raise Refusal("data", f"{told.path}: the tensor {name!r} holds nothing. Save the model again.")
    return Stored(name, told.dtype, told.shape, told.path, told.start)


def _json(text: bytes, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal("data", f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise Refusal("data", f"{path} cannot be read: it holds no object.")
    return found


class Reader:
    """Reads rows; threads may share it."""

    def __init__(self) -> None:
        self._files: dict[Path, int] = {}
        self._lock = threading.Lock()

    def rows(self, tensor: Stored, first: int, count: int) -> np.ndarray[Any, Any]:
        """Return rows as they are stored, [count, columns]; BF16 comes as uint16."""
        import numpy as np

        kind = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[tensor.dtype]
        found = np.empty((count, tensor.columns), kind)
        width = tensor.columns * found.itemsize
        self._fill(found.data.cast("B"), tensor, tensor.offset + first * width)
        return found

    def whole(self, tensor: Stored) -> np.ndarray[Any, Any]:
        """Return a small tensor as float32, in its own shape."""
        return widened(self.rows(tensor, 0, tensor.rows)).reshape(tensor.shape)

    def _fill(self, buffer: memoryview, tensor: Stored, offset: int) -> None:
        done = 0
        # not a map: the pages of a map count as memory of the process for as long as it lasts
        while done < len(buffer):
            got = os.preadv(self._file(tensor.path), [buffer[done:]], offset + done)
            if not got:
                raise Refusal("data", f"{tensor.path} ended while {tensor.name} was read: it was changed meanwhile.")
            done += got

    def _file(self, path: Path) -> int:
        with self._lock:
            if path not in self._files:
                self._files[path] = os.open(path, os.O_RDONLY)
            return self._files[path]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()


def widened(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return stored rows as float32; uint16 is BF16."""
    import numpy as np

    if rows.dtype == np.uint16:
        return (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.astype(np.float32, copy=False)
