"""Peak memory of LoRA above the loaded model, against TRL's SFTTrainer without checkpointing and without padding."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.fitting.comparing import PEERS, fitting, peer_versions
from tests.benchmarks.harness import Result, alternating

GOAL = 0.5


def run(quick: bool) -> Iterator[Result]:
    """Train the same rows in turns; every run must find the same losses first."""
    rows, times = (16, 1) if quick else (32, 3)
    with fitting(4, rows) as subject:
        peaks = alternating({side: subject.memory(side) for side in ("pillm", "tuned")}, times)
        yield Result(
            benchmark="train-memory",
            pillm=round(peaks["pillm"]),
            peer=round(peaks["tuned"]),
            unit="MiB",
            goal=GOAL,
            better="lower",
            peer_is=PEERS["tuned"],
            limit="what the backward pass needs of each layer, and one chunk of logits",
            versions=peer_versions(),
            details=subject.details(),
        )
