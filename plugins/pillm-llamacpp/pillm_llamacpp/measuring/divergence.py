"""How far a quantised file's predictions are from the unquantised one's, on conversations in the student's own template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import pillm
from pillm import Divergence
from pillm_llamacpp.quantizing.imatrix import follow
from pillm_llamacpp.workers.client import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Compared", "Divergence", "Reference", "summarise"]

_DRAWS = 2000
_FEW = 6
"""Fewer conversations than this say nothing of how conversations differ; single positions are drawn then."""


@dataclass(frozen=True, slots=True)
class Compared:
    """How far a file is from the unquantised one, and what each conversation has to say of it."""

    divergence: Divergence
    rows: tuple[float, ...]
    """Each conversation's part, weighed by its length so that the mean of all is the divergence's mean."""

    def change(self, other: Compared) -> pillm.Difference | None:
        """Return the paired difference other - this, over the same conversations; None where they share none."""
        left, right = ({str(number): value for number, value in enumerate(one.rows)} for one in (self, other))
        return pillm.difference(left, right)

    def better(self, other: Compared) -> bool:
        """Say whether the other diverges less beyond chance: the interval of the paired difference leaves out zero."""
        change = self.change(other)
        return change is not None and change.certain and change.mean < 0

    def told(self, other: Compared) -> str:
        """Return in words how the divergence goes from this to the other, and on how many rows that rests."""
        change = self.change(other)
        went = f"from {self.divergence.mean:.3g} to {other.divergence.mean:.3g} nats"
        if change is None:
            return went
        verdict = "beyond chance" if change.certain else "within chance"
        return f"{went} ({verdict}: paired difference {change.low:+.2g} to {change.high:+.2g} over {change.rows} rows)"


@dataclass(frozen=True, slots=True)
class Reference:
    """What the unquantised file predicts on some conversations, kept in a folder: at most 256 MB beside the tokens."""

    folder: Path

    @classmethod
    def of(
        cls, model: Path, texts: Sequence[str], *, threads: int, context: int = 512, folder: Path, progress: pillm.Progress,
        answers: Sequence[tuple[int, int] | None] | None = None,
    ) -> Reference:  # fmt: skip
        """Read conversations with a file and keep what it predicts in `folder`, which must exist.

        `answers` are the answers' tokens as [start, end): where they are known only they count, since nothing else is
        generated. Of a conversation the first `context` tokens are read. Raises DataError where nothing is left to
        compare or the model cannot be read, StorageError where the disk is full, BackendError where llama.cpp gives up.
        """
        if not texts:
            raise pillm.DataError(f"{model.name}: files are compared on texts, and there are none.")
        with Worker(f"the predictions of {model.name}") as worker:
            worker.send({
                "op": "reference", "model": str(model), "texts": list(texts), "threads": threads, "context": context,
                "answers": list(answers or [None] * len(texts)), "folder": str(folder),
            })  # fmt: skip
            follow(worker, progress, f"reading {len(texts)} conversations with {model.name}")
        return cls(folder)

    def against(self, model: Path, *, threads: int, progress: pillm.Progress) -> Divergence:
        """Return how far a file's predictions are from these; see `compare`."""
        return self.compare(model, threads=threads, progress=progress).divergence

    def compare(self, model: Path, *, threads: int, progress: pillm.Progress) -> Compared:
        """Return how far a file's predictions are from these, in nats: KL(reference || file), in all and by conversation.

        Raises DataError where it has another vocabulary or cannot be read, BackendError where llama.cpp gives up.
        """
        with Worker(f"the divergence of {model.name}") as worker:
            worker.send({"op": "diverge", "model": str(model), "threads": threads, "folder": str(self.folder)})
            found = follow(worker, progress, f"comparing {model.name} with the unquantised file")
        whole = summarise(found["divergences"], found["same"], found["lengths"])
        return Compared(whole, _by_row(found["divergences"], found["lengths"]))


def summarise(divergences: Sequence[float], same: Sequence[bool], lengths: Sequence[int]) -> Divergence:
    """Return the figures of positions that come conversation after conversation, `lengths` positions in each.

    The interval is a bootstrap over conversations: neighbouring positions are no independent samples.
    """
    values = np.asarray(divergences, np.float64)
    counts = np.array([length for length in lengths if length], np.int64)
    if len(counts) < _FEW:
        counts = np.ones(len(values), np.int64)
    sums = np.add.reduceat(values, np.concatenate([[0], np.cumsum(counts)[:-1]]))
    low, high = np.quantile(_means(sums, counts), (0.025, 0.975))
    return Divergence(
        mean=float(values.mean()), low=float(low), high=float(high), p99=float(np.quantile(values, 0.99)),
        largest=float(values.max()), top1=float(np.mean(same)), positions=len(values),
    )  # fmt: skip


def _by_row(divergences: Sequence[float], lengths: Sequence[int]) -> tuple[float, ...]:
    counts = [length for length in lengths if length]
    ends = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    sums = np.add.reduceat(np.asarray(divergences, np.float64), ends)
    return tuple((sums * (len(counts) / len(divergences))).tolist())


def _means(sums: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the means of bootstrap draws; the same draws for each file, so that files can be compared."""
    random = np.random.default_rng(0)
    times = random.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), _DRAWS)
    means: np.ndarray[Any, Any] = (times @ sums) / (times @ counts)
    return means
