"""Prompts read per second where 512 tokens are shared and 64 are a row's own: the answer is one token."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.countdown.labelling import Ours, Pipeline, model, result_of, timed
from tests.benchmarks.countdown.model import rows_of
from tests.benchmarks.harness import Result

GOAL = 5.0
SHARED, OWN = 512, 64


def run(quick: bool) -> Iterator[Result]:
    """Label the same rows with both in turns; every answer is checked token by token."""
    rows = rows_of(24 if quick else 48, shared=SHARED, own=OWN, seed=2, answer=1)
    limit = f"tokens to read: {(SHARED + OWN) * len(rows)} against {SHARED + OWN * len(rows)}"
    with model() as folder:
        rates = timed(Ours(folder), Pipeline(folder), rows, 1 if quick else 3)
    yield result_of("label-hf-prefix", GOAL, rates, rows, (Pipeline.IS, limit))
