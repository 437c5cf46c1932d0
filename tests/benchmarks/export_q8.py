"""Wall time from a folder with an adapter to Q8_0, against merging, converting and the same bytes."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.packing.sides import PEER, STEPS, packing, seconds, versions

GOAL = 0.5
QUANT = "Q8_0"


def run(quick: bool) -> Iterator[Result]:
    """Pack the same adapter in turns; the tensors must be the same to the byte."""
    with packing() as subject:
        sides = {"pillm": seconds(subject.pillm, QUANT), "peer": seconds(subject.peer, QUANT)}
        took = alternating(sides, 1 if quick else 3)
        tensors = subject.same(QUANT)
    yield Result(
        benchmark="export-q8",
        pillm=round(took["pillm"], 2),
        peer=round(took["peer"], 2),
        unit="s",
        goal=GOAL,
        better="lower",
        peer_is=PEER.format(STEPS[QUANT]),
        limit="reading the base once, and the disk that takes the file: it is flushed before it gets its name",
        versions=versions(),
        details={"tensors equal to the byte": tensors},
    )
