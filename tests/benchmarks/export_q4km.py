"""Wall time from a folder with an adapter to Q4_K_M, against merging, converting and quantising."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.harness import Result
from tests.benchmarks.packing.sides import faster

GOAL = round(1 / 1.2, 4)
LIMIT = "llama.cpp's search for the scales of each block, which is the same on both sides"


def run(quick: bool) -> Iterator[Result]:
    """Pack the same adapter in turns."""
    yield from faster("export-q4km", "Q4_K_M", GOAL, LIMIT, quick=quick)
