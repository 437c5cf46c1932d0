"""Tokens per second of reading a prompt, up to the first token of the answer, against llama-bench of the same source."""

from __future__ import annotations

from collections.abc import Iterator

import pillm
from tests.benchmarks.harness import Result
from tests.benchmarks.running import sides
from tests.benchmarks.running.turns import Work, against_llama_bench

PP = 512
LIMIT = "1: the same library does the same products; choosing the first token is left"
PEER = "llama-bench -p 512 of the same source with the same threads and the same layout of the weights"


def run(quick: bool) -> Iterator[Result]:
    """Read a prompt of 512 tokens that begins like none before it."""
    work = Work(name="run-prefill", tokens={"pp": PP}, max_tokens=1, speed=_speed, digits=2, limit=LIMIT, peer=PEER)
    yield from against_llama_bench(work, quick=quick)


def _speed(session: pillm.Session, number: int) -> float:
    """Ask a question that shares no beginning with the others beyond the template's."""
    letter = chr(ord("a") + number)
    answer = sides.asked(session, sides.request(sides.exactly(session, f"{letter * 3} {sides.WORDS}", PP)))
    if not answer.usage or answer.usage.prompt_tokens != PP or not answer.timings:
        raise RuntimeError(f"the prompt has {answer.usage} tokens, not {PP}")
    return (PP - answer.usage.cached_tokens) / answer.timings["first_token_seconds"]
