"""The gate of an encoder: a file must turn texts into the embeddings that its checkpoint gives them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pillm

if TYPE_CHECKING:
    from pathlib import Path

    from pillm_llamacpp.converting.conversion import Converted
    from pillm_llamacpp.workers.client import Worker

LARGEST = 5e-3
COSINE = 0.999


def measure(worker: Worker, made: Converted, rows: int | None = None) -> pillm.Agreement:
    """Return how near the embeddings of a file that a worker has open are to its checkpoint's, over the first rows.

    Raises BackendError where a number is not finite.
    """
    import numpy as np

    chosen = made.predicted[:rows]
    vectors = worker.ask(op="embed", texts=[row["text"] for row in chosen], pooling="mean")["vectors"]
    largest, least, offset = 0.0, 1.0, 0
    for number, (row, mine) in enumerate(zip(chosen, vectors, strict=True), 1):
        theirs = np.fromfile(made.reference, "<f4", row["width"], offset=4 * offset).astype(np.float64)
        offset += row["width"]
        if len(mine) != len(theirs) or not all(map(math.isfinite, mine)):
            raise pillm.BackendError(
                f"embeddings: text {number} gets no embedding of {len(theirs)} finite numbers. No GGUF was left. "
                "Choose another base model, or a larger quantisation."
            )
        largest = max(largest, float(np.abs(theirs - mine).max()))
        least = min(least, float(theirs @ np.asarray(mine)))
    return pillm.Agreement(places=len(chosen), largest=largest, cosine=min(1.0, least))


def check(worker: Worker, path: Path, made: Converted) -> pillm.Agreement:
    """Return how near a file in full precision is to its checkpoint; raise BackendError where that is not near enough."""
    near = measure(worker, made)
    if near.largest > LARGEST or (near.cosine or 0.0) < COSINE:
        raise pillm.BackendError(
            f"embeddings: {path.name} and the checkpoint differ: {near}; the bounds are {LARGEST:g} and {COSINE:g}. No GGUF "
            "was left. The pinned llama.cpp may not support this encoder fully; choose another base model."
        )
    return near
