"""Turn texts into vectors, inside the worker."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import llama_cpp.llama_cpp as llama
import numpy as np

from pillm_llamacpp.inference.engine import Context
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from pillm_llamacpp.workers.serving import Served


def embed(served: Served, texts: list[str]) -> list[list[float]]:
    """Return one vector of length 1 per text: the mean over its tokens, or as the model's own pooling says."""
    encoded = [served.model.tokenize(text, bos=True) or [0] for text in texts]
    longest = max(map(len, encoded), default=1)
    if longest > served.context:
        raise Refusal("backend", f"a text of {longest} tokens is longer than the context of {served.context}")
    # pooling needs a whole text in one batch
    context = Context(served.model, served.log, cells=longest, threads=served.threads, batch=longest, embeddings=True)
    try:
        return [_vector(context, tokens) for tokens in encoded]
    finally:
        context.close()


def _vector(context: Context, tokens: list[int]) -> list[float]:
    count = len(tokens)
    context.clear()
    context.tokens[:count] = tokens
    context.positions[:count] = np.arange(count)
    context.owners[:count] = 0
    context.outputs[:count] = 1
    context.decode(count)
    found = llama.llama_get_embeddings_seq(context.handle, 0)
    if not found:
        raise Refusal("backend", "the model gives no embedding for a whole text")
    width = llama.llama_model_n_embd(context.model.handle)
    vector = np.ctypeslib.as_array(ctypes.cast(found, ctypes.POINTER(ctypes.c_float)), (width,)).astype(np.float64)
    norm = float(np.linalg.norm(vector))
    return [float(value) for value in (vector / norm if norm else vector)]
