"""Time prefill and decode apart, inside the worker, as llama-bench does."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pillm_llamacpp.inference.engine import Context

if TYPE_CHECKING:
    from pillm_llamacpp.workers.pipe import Packet
    from pillm_llamacpp.workers.serving import Served


def bench(served: Served, *, pp: int, tg: int, repetitions: int, threads: int) -> Packet:
    """Return samples in tokens per second, `ttft_ms` and the peak memory; clipped to what the model can see.

    Random tokens, one warm-up, an empty cache before each repetition; sampling is not counted, as in llama-bench.
    """
    limit = served.model.context or pp + tg
    tg = max(1, min(tg, limit // 2))
    pp = max(1, min(pp, limit - tg))
    context = Context(served.model, served.log, cells=pp + tg, threads=threads, batch=served.batch)
    tokens = np.random.default_rng(0).integers(0, served.model.n_vocab, pp + tg).astype(np.int32)
    try:
        _prefill(context, tokens[: min(pp, 32)])
        prefill, decode, first = [], [], []
        for _ in range(repetitions):
            context.clear()
            began = _clock(context)
            _prefill(context, tokens[:pp])
            prefilled = _clock(context)
            int(np.argmax(context.logits(1)))
            first.append((_clock(context) - began) * 1000)
            prefill.append(pp / (prefilled - began))
            began = _clock(context)
            for place in range(pp, pp + tg):
                _one(context, tokens[place], place)
                context.synchronize()
            decode.append(tg / (_clock(context) - began))
    finally:
        context.close()
    return {
        "pp": pp, "tg": tg, "pp_tps": prefill, "tg_tps": decode, "ttft_ms": statistics.median(first),
        "load_ms": served.load_ms, "peak_memory": peak_memory(),
    }  # fmt: skip


def _clock(context: Context) -> float:
    """Return the time when everything that was decoded is computed."""
    context.synchronize()
    return time.perf_counter()


def _prefill(context: Context, tokens: np.ndarray[Any, Any]) -> None:
    for start in range(0, len(tokens), context.batch):
        part = tokens[start : start + context.batch]
        count = len(part)
        context.tokens[:count] = part
        context.positions[:count] = np.arange(start, start + count)
        context.owners[:count] = 0
        context.outputs[:count] = 0
        context.outputs[count - 1] = 1
        context.decode(count)


def _one(context: Context, token: int, place: int) -> None:
    context.tokens[0], context.positions[0], context.owners[0], context.outputs[0] = token, place, 0, 1
    context.decode(1)


def peak_memory() -> int:
    """Return the most bytes of memory that this process ever had in use."""
    try:
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
