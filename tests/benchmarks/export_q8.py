"""Wall time from a folder with an adapter to Q8_0, against merging, converting and the same bytes."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.harness import Result
from tests.benchmarks.packing.sides import faster

GOAL = 0.5
LIMIT = "reading the base once, and the disk that takes the file: it is flushed before it gets its name"


def run(quick: bool) -> Iterator[Result]:
    """Pack the same adapter in turns."""
    yield from faster("export-q8", "Q8_0", GOAL, LIMIT, quick=quick)
