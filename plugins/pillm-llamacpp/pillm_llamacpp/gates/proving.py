"""The gates of a file in full precision, one after the other; the first that it fails is the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pillm
from pillm_llamacpp.gates import embeddings, logits, parity
from pillm_llamacpp.gates.finite import check_finite
from pillm_llamacpp.workers.client import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pillm_llamacpp.converting.conversion import Converted
    from pillm_llamacpp.gates.checks import Findings
    from pillm_llamacpp.gates.parity import Row


class Proof(NamedTuple):
    """What was proved of a file in full precision, and with what, so that smaller files can be tried with it too."""

    parity: pillm.Parity
    agreement: pillm.Agreement | None
    """None where the checkpoint was not asked (`logits=skip`)."""
    rows: Sequence[Row]
    made: Converted
    encoder: bool = False


def prove(
    path: Path, rows: Sequence[Row], made: Converted, told: Findings, *, day: str | None, threads: int, progress: pillm.Progress
) -> Proof:
    """Return what was proved: tokens and texts, finite weights, then logits or embeddings.

    Raises BackendError at the first difference, DataError where a weight is no finite number.
    """
    proved = parity.prove(path, rows, made, told, day)
    with Worker(f"the check of {path.name}'s weights") as worker:
        check_finite(worker, path)
        longest = max((len(row["ids"]) for row in made.predicted), default=0)
        worker.ask(op="open", path=str(path), threads=threads, context=longest + 8, parallel=1)
        near = None
        if made.predicted:
            near = embeddings.check(worker, path, made) if told.encoder else logits.check(worker, path, made, progress)
    compared = near or "not compared with what the checkpoint computes (logits=skip)"
    progress.note(f"parity: {proved.rows} {'texts' if told.encoder else 'conversations'}, no difference; {compared}.")
    return Proof(proved, near, rows, made, told.encoder)
