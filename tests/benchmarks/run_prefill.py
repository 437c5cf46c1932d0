"""Tokens per second of reading a prompt, up to the first token of the answer, against llama-bench of the same source."""

from __future__ import annotations

from collections.abc import Iterator

import pillm
from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.running import files, sides

GOAL = 0.97
PP = 512
LIMIT = "1: the same library does the same products; choosing the first token is left"
PEER = "llama-bench -p 512 of the same source with the same threads and the same layout of the weights"


def run(quick: bool) -> Iterator[Result]:
    """Read a prompt of 512 tokens that begins like none before it, in turns with llama-bench, on files of a real size."""
    for quant in ("Q8_0",) if quick else ("Q8_0", "Q4_K_M"):
        file = files.real_size(quant)
        same = sides.check_tokens(file)
        with sides.opened(file, max_tokens=1) as session:
            reader = _Reader(session)
            took = alternating({"pillm": reader.speed, "peer": lambda f=file: sides.bench(f, pp=PP)}, 3 if quick else 5)
        yield Result(
            benchmark=f"run-prefill-{quant.lower().replace('_', '-')}",
            pillm=round(took["pillm"], 2),
            peer=round(took["peer"], 2),
            unit="tokens/s",
            goal=GOAL,
            better="higher",
            peer_is=PEER,
            limit=LIMIT,
            versions=sides.versions(),
            details={**sides.settings(), "greedy tokens equal to llama-server's": same},
        )


class _Reader:
    """Asks questions of 512 tokens that share no beginning beyond the template's."""

    def __init__(self, session: pillm.Session) -> None:
        self._session, self._number = session, 0

    def speed(self) -> float:
        self._number += 1
        letter = chr(ord("a") + self._number)
        answer = sides.asked(self._session, sides.request(sides.exactly(self._session, f"{letter * 3} {sides.WORDS}", PP)))
        if not answer.usage or answer.usage.prompt_tokens != PP or not answer.timings:
            raise RuntimeError(f"the prompt has {answer.usage} tokens, not {PP}")
        return (PP - answer.usage.cached_tokens) / answer.timings["first_token_seconds"]
