"""The weights gate: the file must choose the tokens that the checkpoint chooses, or the conversion lost something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.workers.client import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROWS = 8
TOKENS = 64
TOLERANCE = 0.05
"""Share of positions that may differ: 16-bit rounding breaks near-ties, a wrong tensor changes most positions."""


def compare(path: Path, rows: Sequence[tuple[list[int], list[int]]], *, threads: int, progress: pillm.Progress) -> None:
    """Raise BackendError where a file's next tokens are not the checkpoint's; rows are (ids, next tokens)."""
    with Worker(f"the weights check of {path.name}") as worker:
        worker.ask(op="open", path=str(path), threads=threads, context=8, parallel=1)
        progress.start(len(rows), unit="conversations", message=f"comparing the weights of {path.name} with the checkpoint's")
        found = []
        for ids, _ in rows:
            found.append(worker.ask(op="follow", ids=ids)["next"])
            progress.advance()
    places = sum(len(expected) for _, expected in rows)
    differ = sum(mine != theirs for (_, expected), got in zip(rows, found, strict=True)
                 for mine, theirs in zip(expected, got, strict=True))  # fmt: skip
    if differ > TOLERANCE * places:
        raise pillm.BackendError(
            f"weights: {path.name} and the checkpoint choose another next token at {differ} of {places} places of "
            f"{len(rows)} conversations, so the conversion lost something. No GGUF was left. The pinned llama.cpp may not "
            "support this architecture fully; choose another base model."
        )
