"""Whether the checkpoint that a file is compared with fits into memory, asked before anything is converted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import pillm
from pillm_llamacpp.converting.spm import vocabulary_size
from pillm_llamacpp.gates.logits import TOKENS
from pillm_llamacpp.inference.machine import free_memory

if TYPE_CHECKING:
    from pathlib import Path

Precision: TypeAlias = Literal["float32", "stored"]
"""How the weights are held: in 32 bit as a whole, or as they are stored and widened layer by layer; the sums are equal."""
LIBRARIES = 700_000_000
"""Bytes that torch and transformers take themselves, measured, with room to spare."""


def precision(folder: Path, config: dict[str, object], *, free: int | None = None) -> Precision:
    """Return how a checkpoint is to be held so that it fits into the memory that is free.

    Raises ConfigError, with what is needed, where it fits in no way.
    """
    tensors = pillm.stored_tensors(folder).values()
    weights = sum(tensor.weights for tensor in tensors)
    stored = sum(tensor.end - tensor.start for tensor in tensors)
    largest = max((tensor.weights for tensor in tensors), default=0)
    # the logits of one conversation, as they are computed and once more in 32 bit
    more = LIBRARIES + 8 * TOKENS * (vocabulary_size(config) or 0)
    free = free_memory() if free is None else free
    if 4 * weights + more <= free:
        return "float32"
    least = stored + 4 * largest + more
    if least <= free:
        return "stored"
    raise pillm.ConfigError(
        f"{folder} cannot be compared with its files here: that takes {least / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
        "are free. Nothing was converted. Free some memory, export on a larger machine, or do without this proof: "
        "-o logits=skip (the files and their card will say that it was not given)."
    )


def examine_memory(checkpoint: pillm.Checkpoint, logits: str) -> pillm.Finding:
    """Return whether the memory that is free now would do, as far as the exporter's option `logits` wants it to."""
    if logits == "skip":
        said = "what the files compute will not be compared with the checkpoint (logits=skip), and they will say so"
        return pillm.Finding("memory", "note", said)
    try:
        held = precision(checkpoint.path, checkpoint.config)
    except pillm.PillmError as error:
        return pillm.Finding("memory", "broken", str(error))
    how = "in 32 bit" if held == "float32" else "as its weights are stored, each layer widened as it is used"
    return pillm.Finding("memory", "ok", f"the checkpoint fits, {how}, to be compared with its files")
