"""What the tests of a choice measure with: a bench on the tiny model's own conversations."""

from __future__ import annotations

from pathlib import Path

from pillm_llamacpp.choosing import moments
from pillm_llamacpp.choosing.trials import Bench
from pillm_llamacpp.measuring.divergence import Reference
from pillm_llamacpp.quantizing.imatrix import gather
from pillm_llamacpp_tiny import conversations

import pillm

QUIET = pillm.Progress()
_LEFT = "Q6_K Q5_K_M Q5_K_S Q5_K Q5_1 Q4_K_M Q4_K_S Q4_K Q4_1 IQ4_NL IQ4_XS Q3_K_L Q3_K_S Q2_K".split()  # noqa: SIM905
FEW = ("Q8_0", "Q5_0", "Q4_0", "Q3_K_M")


def device_of(folder: Path) -> str:
    """Return a board like a Raspberry Pi 4 on which few types are tried, so that a choice takes seconds."""
    path = folder / "few.yaml"
    path.write_text(f"extends: pi4-4gb\ntitle: few types\navoid: [{', '.join(_LEFT)}, IQ3_S, IQ3_M]\n")
    return str(path)


def bench_of(full: Path, folder: Path, *, weighed: bool = False, rounded: bool = False) -> Bench:
    """Return a bench for a full file: odd conversations to calibrate on, even ones to compare on."""
    texts = conversations()
    (folder / "reference").mkdir(parents=True)
    (folder / "trials").mkdir()
    reference = Reference.of(full, texts[::2], threads=1, folder=folder / "reference", progress=QUIET)
    return Bench(
        full=full, folder=folder / "trials", device=device_of(folder), reference=reference, threads=1, readers=1,
        progress=QUIET, imatrix=gather(full, texts[1::2], threads=1, progress=QUIET) if weighed else None,
        moments=moments.gather(full, texts[1::2], threads=1, folder=folder / "moments", progress=QUIET) if rounded else None,
    )  # fmt: skip
