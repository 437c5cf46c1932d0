"""Wall time from a folder with an adapter to Q4_K_M, against merging, converting and quantising."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.packing.sides import PEER, STEPS, packing, seconds, versions

GOAL = round(1 / 1.2, 4)
QUANT = "Q4_K_M"


def run(quick: bool) -> Iterator[Result]:
    """Pack the same adapter in turns; the tensors must be the same to the byte."""
    with packing() as subject:
        sides = {"pillm": seconds(subject.pillm, QUANT), "peer": seconds(subject.peer, QUANT)}
        took = alternating(sides, 1 if quick else 3)
        tensors = subject.same(QUANT)
    yield Result(
        benchmark="export-q4km",
        pillm=round(took["pillm"], 2),
        peer=round(took["peer"], 2),
        unit="s",
        goal=GOAL,
        better="lower",
        peer_is=PEER.format(STEPS[QUANT]),
        limit="llama.cpp's search for the scales of each block, which is the same on both sides",
        versions=versions(),
        details={"tensors equal to the byte": tensors},
    )
