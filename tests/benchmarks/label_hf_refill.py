"""Labels per second where answers differ in length: slots that are refilled, against batches that wait for their last row."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.countdown.labelling import Ours, Pipeline, model, refill_limit, result_of, timed
from tests.benchmarks.countdown.model import rows_of
from tests.benchmarks.harness import Result

GOAL = 2.2


def run(quick: bool) -> Iterator[Result]:
    """Label the same rows with both in turns; every answer is checked token by token."""
    rows = rows_of(96 if quick else 192, own=24, seed=1)
    with model() as folder:
        rates = timed(Ours(folder), Pipeline(folder), rows, 1 if quick else 3)
    yield result_of("label-hf-refill", GOAL, rates, rows, (Pipeline.IS, refill_limit(rows)))
