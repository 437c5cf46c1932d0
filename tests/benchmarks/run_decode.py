"""Tokens per second of one answer, choosing the tokens included, against llama-bench of the same source."""

from __future__ import annotations

from collections.abc import Iterator

import pillm
from tests.benchmarks.harness import Result
from tests.benchmarks.running import sides
from tests.benchmarks.running.turns import Work, against_llama_bench

TG = 128
LIMIT = (
    "the memory that streams the weights: the same library does the same products. What pillm gains, its huge pages, is gone "
    "where the peer has them too; choosing a token of the vocabulary and the book-keeping of an answer are left"
)
PEER = (
    "llama-bench -n 128 of the same source behind a prompt of the same length, as it comes: it maps the file and chooses "
    "no token"
)
WORDS = "Bonjour"


def run(quick: bool) -> Iterator[Result]:
    """Answer with 128 tokens after the first."""
    work = Work(
        name="run-decode", tokens={"tg": TG}, max_tokens=TG + 1, speed=_speed, digits=3, limit=LIMIT, peer=PEER, behind=WORDS
    )
    yield from against_llama_bench(work, quick=quick)


def _speed(session: pillm.Session, _: int) -> float:
    answer = sides.asked(session, sides.request(WORDS))
    count = len(answer.token_ids or ()) - 1
    if count != TG or not answer.timings:
        raise RuntimeError(f"{count + 1} tokens were answered, not {TG + 1}")
    return count / (answer.timings["seconds"] - answer.timings["first_token_seconds"])
