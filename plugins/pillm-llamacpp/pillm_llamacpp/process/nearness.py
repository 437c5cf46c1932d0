"""How far a file's logits are from those that its checkpoint gave, inside a worker."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as llama
import numpy as np

from pillm_llamacpp.inference.engine import Context
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from pillm_llamacpp.process.serving import Served
    from pillm_llamacpp.workers.pipe import Packet

    Matrix = np.ndarray[Any, np.dtype[np.float64]]


def record(served: Served, *, reference: str, ids: list[int], places: int) -> Packet:
    """Write the logits at the last `places` of some ids, as answers are computed, for `compare` by another; say their width."""
    found = _logits(served, ids, places, None, exact=False)
    found.astype("<f4").tofile(reference)
    return {"width": int(found.shape[1])}


def compare(served: Served, *, reference: str, offset: int, ids: list[int], places: int, width: int, **how: Any) -> Packet:
    """Return how the logits at the last `places` of some ids differ from those in a file of 32-bit numbers, from `offset` on.

    `largest` is the largest difference and `at` its place; `peak` the largest logit of the checkpoint, counted from the mean
    of its place; `others` the places where another token is chosen: (place, theirs, mine, by how much the checkpoint prefers
    theirs). All but those are None where a logit is no finite number. `how` has `lora`, the file
    of an adapter that lies on the model, and `exact`, as `_logits` takes it.
    """
    theirs = np.fromfile(reference, "<f4", places * width, offset=4 * offset).reshape(places, width).astype(np.float64)
    mine = _logits(served, ids, places, how.get("lora"), exact=how.get("exact", True)).astype(np.float64)
    width = min(width, mine.shape[1])  # rows that no token has
    theirs, mine = theirs[:, :width], mine[:, :width]
    for who, numbers in (("the checkpoint", theirs), ("the file", mine)):
        if not np.isfinite(numbers).all():
            return {"places": places, "unfinite": who, "at": int(np.argwhere(~np.isfinite(numbers))[0][0])}
    apart = np.abs(mine - theirs)
    return {
        "places": places,
        "largest": float(apart.max()),
        "at": int(apart.max(axis=1).argmax()),
        "peak": float(np.abs(theirs - theirs.mean(axis=1, keepdims=True)).max()),
        "kld": float(_divergence(theirs, mine).sum()),
        "others": _others(theirs, mine),
    }


def _logits(served: Served, ids: list[int], places: int, lora: str | None, *, exact: bool) -> Any:
    """Return the logits of the last places; `exact` keeps the cache in 32 bit, so that only the weights are as they ship."""
    count = len(ids)
    if not 0 < places <= count:
        raise Refusal("backend", f"{places} of {count} places cannot be compared")
    adapter = _adapter(served, lora) if lora else None  # before the context, which makes room for it
    context = Context(
        served.model, served.log, cells=count, threads=served.threads, batch=count, outputs=count, exact=exact
    )  # fmt: skip
    try:
        if adapter:
            _put_on(context, adapter)
        context.tokens[:count] = ids
        context.positions[:count] = np.arange(count)
        context.owners[:count] = 0
        context.outputs[:count] = 0
        context.outputs[count - places : count] = 1
        context.decode(count)
        return context.logits(places).copy()
    finally:
        context.close()
        if adapter:
            llama.llama_adapter_lora_free(adapter)


def _adapter(served: Served, path: str) -> Any:
    found = llama.llama_adapter_lora_init(served.model.handle, path.encode())
    if not found:
        raise Refusal("data", f"llama.cpp cannot put {path} on its base: {served.log.reason()}")
    return found


def _put_on(context: Context, adapter: Any) -> None:
    adapters = (llama.llama_adapter_lora_p_ctypes * 1)(ctypes.cast(adapter, llama.llama_adapter_lora_p_ctypes))
    if llama.llama_set_adapters_lora(context.handle, adapters, 1, (ctypes.c_float * 1)(1.0)):
        raise Refusal("backend", "llama.cpp did not take the adapter")


def _divergence(theirs: Matrix, mine: Matrix) -> Matrix:
    """Return the Kullback-Leibler divergence from theirs at each place, in nats."""
    sure, got = _log_softmax(theirs), _log_softmax(mine)
    found: Matrix = (np.exp(sure) * (sure - got)).sum(axis=1)
    return np.maximum(found, 0.0)


def _log_softmax(logits: Matrix) -> Matrix:
    low = logits - logits.max(axis=1, keepdims=True)
    found: Matrix = low - np.log(np.exp(low).sum(axis=1, keepdims=True))
    return found


def _others(theirs: Matrix, mine: Matrix) -> list[list[float]]:
    wanted, chosen = theirs.argmax(axis=1), mine.argmax(axis=1)
    return [
        [int(place), int(wanted[place]), int(chosen[place]), float(theirs[place, wanted[place]] - theirs[place, chosen[place]])]
        for place in np.flatnonzero(wanted != chosen)
    ]
