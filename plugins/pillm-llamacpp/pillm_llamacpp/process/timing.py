"""Time pieces of work inside the worker, each alone, as llama-bench does: prompt or answer, behind so many tokens."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as llama
import numpy as np

from pillm_llamacpp.inference.batching import Batcher
from pillm_llamacpp.inference.engine import Context
from pillm_llamacpp.inference.machine import memory_sizes
from pillm_llamacpp.process.embedding import pooling_of
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from pillm_llamacpp.process.serving import Served
    from pillm_llamacpp.workers.pipe import Packet


class Stopwatch:
    """Times one open model. Random tokens, nothing is sampled; what stands already is put back from its saved state."""

    def __init__(self, served: Served) -> None:
        """Time a model that is open; its contexts are made when they are needed, and kept."""
        self._served = served
        self._contexts: dict[int, Context] = {}
        self._saved: dict[tuple[int, int], Any] = {}
        self._answering: Context | None = None
        self._pooled: Context | None = None
        self._batcher: Batcher | None = None
        self._tokens = np.random.default_rng(0)

    def time(self, *, kind: str, tokens: int, depth: int, threads: int) -> Packet:
        """Return the seconds that reading or writing `tokens` tokens behind `depth` others takes."""
        limit = self._served.model.context
        if limit and tokens + depth > limit:
            raise Refusal("backend", f"{tokens} tokens behind {depth} are more than the {limit} that the model can see")
        if kind == "embed":
            return self._embed(tokens, threads)
        context = self._context(tokens + depth)
        llama.llama_set_n_threads(context.handle, threads, threads)
        found: Packet = {"tokens": tokens, "restore_ms": self._stand(context, depth), "first_ms": None, "steps_ms": []}
        drawn = self._drawn(tokens)
        began = _clock(context)
        if kind == "pp":
            _prefill(context, drawn, depth)
            found["seconds"] = _clock(context) - began
            int(np.argmax(context.logits(1)))
            found["first_ms"] = (_clock(context) - began) * 1000
        else:
            found["steps_ms"] = list(_steps(context, drawn, depth, began))
            found["seconds"] = sum(found["steps_ms"]) / 1000
        return found

    def _embed(self, tokens: int, threads: int) -> Packet:
        """Turn a text of so many tokens into its vector; a whole text is read at once."""
        served = self._served
        if self._pooled is None or self._pooled.batch < tokens:
            more = {"embeddings": True, "pooling": pooling_of(served)}
            self._pooled = Context(served.model, served.log, cells=tokens, batch=tokens, threads=served.threads, **more)
        context, drawn = self._pooled, self._drawn(tokens)
        llama.llama_set_n_threads(context.handle, threads, threads)
        context.clear()
        context.tokens[:tokens], context.positions[:tokens] = drawn, np.arange(tokens)
        context.owners[:tokens], context.outputs[:tokens] = 0, 1
        began = _clock(context)
        context.decode(tokens)
        return {"tokens": tokens, "seconds": _clock(context) - began, "restore_ms": None, "first_ms": None, "steps_ms": []}

    def _drawn(self, count: int) -> np.ndarray[Any, Any]:
        return self._tokens.integers(0, self._served.model.n_vocab, count).astype(np.int32)

    def _context(self, cells: int) -> Context:
        """Return the smallest context that holds so many tokens."""
        if fitting := [size for size in self._contexts if size >= cells]:
            return self._contexts[min(fitting)]
        served = self._served
        made = Context(served.model, served.log, cells=cells, threads=served.threads, batch=served.batch)
        self._contexts[cells] = made
        return made

    def _stand(self, context: Context, depth: int) -> float | None:
        """Let `depth` tokens stand in an otherwise empty cache; return the milliseconds of putting them back, if they were."""
        context.clear()
        if not depth:
            return None
        key = (id(context), depth)
        if key not in self._saved:
            _prefill(context, self._drawn(depth), 0)
            context.synchronize()
            if (state := context.state(0)) is None:
                raise Refusal("backend", "llama.cpp cannot save the state of this model, so nothing is timed behind it")
            self._saved[key] = state
            return None
        began = _clock(context)
        if not context.restore(0, self._saved[key]):
            raise Refusal("backend", "llama.cpp cannot put back a state that it saved")
        return (_clock(context) - began) * 1000

    def reply(self, *, fresh: bool, **message: Any) -> Packet:
        """Answer one row alone and return when its tokens came: by the road that every answer takes, grammar included.

        `fresh` forgets first what the cache holds.
        """
        began = time.perf_counter()
        batcher, served = self._alone(fresh=fresh), self._served
        kept, served.batcher = served.batcher, batcher
        moments: list[float] = []
        results: list[Packet] = []
        try:
            served.add(message)
            while not results:
                results = list(batcher.step())
                moments.append(time.perf_counter())
        finally:
            served.batcher = kept
            batcher.cancel()
        # the first steps read the prompt, each of the others chose a token
        came = moments[-max(1, len(results[0]["ids"])) :]
        gaps = [(later - earlier) * 1000 for earlier, later in pairwise(came)]
        return {"first_ms": (came[0] - began) * 1000, "gaps_ms": gaps, "cached": results[0]["cached"]}

    def _alone(self, *, fresh: bool) -> Batcher:
        served = self._served
        if self._answering is None:
            self._answering = Context(
                served.model, served.log, cells=served.context, threads=served.threads, batch=served.batch
            )
        if self._batcher is None or fresh:
            self._answering.clear()
            self._batcher = Batcher(served.model, self._answering, 1)
        return self._batcher

    def close(self) -> None:
        """Free the contexts."""
        for context in (*self._contexts.values(), self._answering, self._pooled):
            if context is not None:
                context.close()
        self._answering = self._pooled = self._batcher = None
        self._contexts.clear()
        self._saved.clear()


def _steps(context: Context, tokens: np.ndarray[Any, Any], depth: int, began: float) -> Any:
    """Yield the milliseconds of each written token."""
    for place, token in enumerate(tokens, depth):
        context.tokens[0], context.positions[0], context.owners[0], context.outputs[0] = token, place, 0, 1
        context.decode(1)
        ended = _clock(context)
        yield (ended - began) * 1000
        began = ended


def _clock(context: Context) -> float:
    """Return the time when everything that was decoded is computed."""
    context.synchronize()
    return time.perf_counter()


def _prefill(context: Context, tokens: np.ndarray[Any, Any], depth: int) -> None:
    for start in range(0, len(tokens), context.batch):
        part = tokens[start : start + context.batch]
        count = len(part)
        context.tokens[:count] = part
        context.positions[:count] = np.arange(depth + start, depth + start + count)
        context.owners[:count] = 0
        context.outputs[:count] = 0
        context.outputs[count - 1] = 1
        context.decode(count)


def memory() -> dict[str, int]:
    """Return the bytes of memory that this process takes, by kind, and how often a page had to come from the disk."""
    found: dict[str, int] = {}
    for path in ("/proc/self/status", "/proc/self/smaps_rollup"):
        with suppress(OSError):
            found |= memory_sizes(Path(path).read_text("ascii", "replace"))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak": usage.ru_maxrss * unit, **found, "major_faults": usage.ru_majflt}
