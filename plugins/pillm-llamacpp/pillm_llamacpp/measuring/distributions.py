"""A model's next-token distributions on disk, and how far another model's are from them. Natural logarithms throughout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from types import TracebackType

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"

_MOST_BYTES = 256 * 1024 * 1024
_FEWEST = 64
_LEAST = 1e-12
_RULED_OUT = np.float32(-1000)


def kept_tokens(positions: int, vocabulary: int) -> int:
    """Return how many tokens of each distribution are kept: all where 256 MB hold them, else the most likely ones."""
    if positions * vocabulary * 4 <= _MOST_BYTES:
        return vocabulary
    return min(vocabulary, max(_FEWEST, _MOST_BYTES // (8 * positions)))


def normalise(logits: Floats) -> Floats:
    """Turn logits into log-probabilities where they stand, and return them."""
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, dtype=np.float64, keepdims=True)).astype(np.float32)
    # a token that a model rules out has no logarithm to subtract
    return np.maximum(logits, _RULED_OUT, out=logits)


@dataclass(slots=True)
class Writer:
    """Writes distributions to a folder, a batch of positions at a time."""

    folder: Path
    kept: int
    vocabulary: int
    _files: tuple[IO[bytes], ...] = ()

    def __enter__(self) -> Self:
        names = ("top.i32", "logs.f32", "ids.i32") if self.kept < self.vocabulary else ("top.i32", "logs.f32")
        self._files = tuple((self.folder / name).open("wb") for name in names)
        return self

    def add(self, logs: Floats) -> None:
        """Add the log-probabilities of further positions, (positions, vocabulary); raise OSError where the disk is full."""
        columns = [logs.argmax(axis=1).astype(np.int32), logs]
        if self.kept < self.vocabulary:
            ids = np.argpartition(logs, -self.kept, axis=1)[:, -self.kept :].astype(np.int32)
            ids.sort(axis=1)  # neighbours in memory are read together
            columns[1:] = [np.take_along_axis(logs, ids, axis=1), ids]
        for file, column in zip(self._files, columns, strict=True):
            file.write(np.ascontiguousarray(column).data)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in self._files:
            file.close()


class Stored:
    """Distributions that a `Writer` wrote."""

    def __init__(self, folder: Path, kept: int, vocabulary: int) -> None:
        self.top = np.fromfile(folder / "top.i32", np.int32)
        shape = (len(self.top), kept)
        self._logs = np.memmap(folder / "logs.f32", np.float32, "r", shape=shape)
        self._ids = np.memmap(folder / "ids.i32", np.int32, "r", shape=shape) if kept < vocabulary else None

    def against(self, start: int, logs: Floats) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return (divergence in nats, whether both choose the same token) of further positions from `start` on.

        Where only the likeliest tokens were kept, the others count as one: the divergence is a lower bound then, and
        what is missing is that inside a tail of little probability.
        """
        rows = slice(start, start + len(logs))
        same = logs.argmax(axis=1) == self.top[rows]
        base = np.asarray(self._logs[rows])
        mine = logs if self._ids is None else np.take_along_axis(logs, np.asarray(self._ids[rows]), axis=1)
        chances = np.exp(base)
        found = np.einsum("ij,ij->i", chances, base - mine, dtype=np.float64)
        if self._ids is not None:
            rest, mine_rest = (np.maximum(1 - part.sum(axis=1, dtype=np.float64), _LEAST) for part in (chances, np.exp(mine)))
            found += rest * (np.log(rest) - np.log(mine_rest))
        return np.maximum(found, 0), same
