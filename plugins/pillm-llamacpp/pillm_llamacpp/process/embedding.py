"""Turn texts into vectors, inside the worker: several texts share each decode."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as llama
import numpy as np

from pillm_llamacpp.inference.engine import Context
from pillm_llamacpp.workers.refusal import Refusal, too_long

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillm_llamacpp.process.serving import Served

MEAN, RANK = 1, 4
POOLINGS = {"mean": MEAN, "cls": 2, "last": 3}
TOGETHER = 16
"""Texts in one decode at most."""
_TOKENS = 512
"""Tokens in one decode, where no single text is longer."""


def pooling_of(served: Served) -> int:
    """Return how the file says that a text's vector is made of its tokens'; the mean where it does not say."""
    told = served.model.meta(f"{served.model.meta('general.architecture')}.pooling_type")
    kind = int(told) if told is not None and told.isdigit() else MEAN
    if kind == RANK:
        raise Refusal("config", "this model ranks pairs of texts and gives no embeddings; choose an embedding model")
    return kind or MEAN  # "none" gives a vector per token, and one per text is asked for


class Embedder:
    """A context that pools, which is kept between calls and grows with the longest text."""

    def __init__(self, served: Served, pooling: str | None = None) -> None:
        """Pool as the file says, or as `pooling` does, one of POOLINGS' names."""
        self._served = served
        self._pooling = pooling_of(served) if pooling is None else POOLINGS[pooling]
        self._context: Context | None = None

    def vectors(self, texts: list[str]) -> list[list[float]]:
        """Return one vector of length 1 per text; raise Refusal for a text that the context does not hold."""
        encoded = [self._served.model.tokenize(text, bos=True) or [0] for text in texts]
        longest = max(map(len, encoded), default=1)
        if longest > self._served.context:
            raise Refusal("data", too_long(longest, self._served.context))
        context = self._room(longest)
        return [vector for group in _groups(encoded, context.batch) for vector in self._pooled(context, group)]

    def _room(self, longest: int) -> Context:
        """Return a context that decodes a text of that length at once, as pooling needs it."""
        if self._context is None or self._context.batch < longest:
            self.close()
            served = self._served
            # llama.cpp aborts where the room is no multiple of the sequences
            cells = -(-max(longest, min(_TOKENS, served.context)) // TOGETHER) * TOGETHER
            self._context = Context(
                served.model, served.log, cells=cells, batch=cells, sequences=TOGETHER, unified=True, embeddings=True,
                threads=served.threads, pooling=self._pooling,
            )  # fmt: skip
        return self._context

    def _pooled(self, context: Context, group: list[list[int]]) -> Iterator[list[float]]:
        context.clear()
        count = 0
        for sequence, tokens in enumerate(group):
            end = count + len(tokens)
            context.tokens[count:end] = tokens
            context.positions[count:end] = np.arange(len(tokens))
            context.owners[count:end] = sequence
            context.outputs[count:end] = 1
            count = end
        context.decode(count)
        width = llama.llama_model_n_embd_out(context.model.handle)
        for sequence in range(len(group)):
            yield _unit(llama.llama_get_embeddings_seq(context.handle, sequence), width)

    def close(self) -> None:
        """Free the context."""
        if self._context is not None:
            self._context.close()
            self._context = None


def _groups(encoded: list[list[int]], most: int) -> Iterator[list[list[int]]]:
    """Yield runs of texts that are decoded together, in their order."""
    group: list[list[int]] = []
    for tokens in encoded:
        if group and (len(group) == TOGETHER or sum(map(len, group)) + len(tokens) > most):
            yield group
            group = []
        group.append(tokens)
    if group:
        yield group


def _unit(found: Any, width: int) -> list[float]:
    if not found:
        raise Refusal("backend", "the model gives no embedding for a whole text")
    vector = np.ctypeslib.as_array(ctypes.cast(found, ctypes.POINTER(ctypes.c_float)), (width,)).astype(np.float64)
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm):
        raise Refusal("backend", "the model gives an embedding that is not finite")
    return [float(value) for value in (vector / norm if norm else vector)]
