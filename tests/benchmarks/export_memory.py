"""Peak memory from a folder with an adapter to Q8_0, against merging and converting."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.packing.sides import PEER, STEPS, packing, versions

GOAL = round(1 / 3, 4)
QUANT = "Q8_0"


def run(quick: bool) -> Iterator[Result]:
    """Pack the same adapter in turns; the tensors must be the same to the byte."""
    with packing() as subject:
        sides = {"pillm": lambda: subject.pillm(QUANT).peak, "peer": lambda: subject.peer(QUANT).peak}
        peaks = alternating(sides, 1 if quick else 3)
        tensors = subject.same(QUANT)
    yield Result(
        benchmark="export-memory",
        pillm=round(peaks["pillm"]),
        peer=round(peaks["peer"]),
        unit="MiB",
        goal=GOAL,
        better="lower",
        peer_is=PEER.format(STEPS[QUANT]),
        limit="Python and its libraries, and the texts of the vocabulary; of the weights a few MiB are there at a time",
        versions=versions(),
        details={"tensors equal to the byte": tensors},
    )
