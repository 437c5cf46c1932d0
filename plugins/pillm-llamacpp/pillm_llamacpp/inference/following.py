"""Which token a model would choose after each token of a text, inside a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pillm_llamacpp.inference.engine import Context

if TYPE_CHECKING:
    from pillm_llamacpp.workers.serving import Served


def follow(served: Served, ids: list[int]) -> list[int]:
    """Return, for each position, the most likely next token."""
    count = len(ids)
    context = Context(served.model, served.log, cells=count, threads=served.threads, batch=count, outputs=count)
    try:
        context.tokens[:count] = ids
        context.positions[:count] = np.arange(count)
        context.owners[:count] = 0
        context.outputs[:count] = 1
        context.decode(count)
        return [int(token) for token in np.argmax(context.logits(count), axis=1)]
    finally:
        context.close()
