"""What the tests of a choice measure with: a bench on the tiny model's own conversations."""

from __future__ import annotations

from pathlib import Path

from pillm_llamacpp.choosing import moments
from pillm_llamacpp.choosing.trials import Bench
from pillm_llamacpp.measuring.divergence import Reference
from pillm_llamacpp.measuring.imatrix import gather
from pillm_llamacpp_tiny import conversations

import pillm

QUIET = pillm.Progress()


def bench_of(full: Path, folder: Path, *, weighed: bool = False, rounded: bool = False, device: str = "pi4-4gb") -> Bench:
    """Return a bench for a full file: odd conversations to calibrate on, even ones to compare on."""
    texts = conversations()
    (folder / "reference").mkdir(parents=True)
    (folder / "trials").mkdir()
    reference = Reference.of(full, texts[::2], threads=1, folder=folder / "reference", progress=QUIET)
    return Bench(
        full=full, folder=folder / "trials", device=device, reference=reference, rows=[], threads=1, readers=1, progress=QUIET,
        imatrix=gather(full, texts[1::2], threads=1, progress=QUIET) if weighed else None,
        moments=moments.gather(full, texts[1::2], threads=1, folder=folder / "moments", progress=QUIET) if rounded else None,
    )  # fmt: skip
