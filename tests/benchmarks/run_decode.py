"""Tokens per second of one answer, choosing the tokens included, against llama-bench of the same source."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.running import files, sides

GOAL = 0.97
TG = 128
LIMIT = "1: the same library does the same products; choosing a token of the vocabulary and the answer's book-keeping are left"
PEER = "llama-bench -n 128 of the same source, which chooses no token, with the same threads and the same layout of the weights"


def run(quick: bool) -> Iterator[Result]:
    """Answer with 128 tokens after the first, in turns with llama-bench, on files of a real size."""
    for quant in ("Q8_0",) if quick else ("Q8_0", "Q4_K_M"):
        file = files.real_size(quant)
        same = sides.check_tokens(file)
        with sides.opened(file, max_tokens=TG + 1) as session:
            both = {"pillm": lambda s=session: _speed(s), "peer": lambda f=file: sides.bench(f, tg=TG)}
            took = alternating(both, 3 if quick else 5)
        yield Result(
            benchmark=f"run-decode-{quant.lower().replace('_', '-')}",
            pillm=round(took["pillm"], 3),
            peer=round(took["peer"], 3),
            unit="tokens/s",
            goal=GOAL,
            better="higher",
            peer_is=PEER,
            limit=LIMIT,
            versions=sides.versions(),
            details={**sides.settings(), "greedy tokens equal to llama-server's": same},
        )


def _speed(session: object) -> float:
    answer = sides.asked(session, sides.request("Bonjour"))  # type: ignore[arg-type]
    count = len(answer.token_ids or ()) - 1
    if count != TG or not answer.timings:
        raise RuntimeError(f"{count + 1} tokens were answered, not {TG + 1}")
    return count / (answer.timings["seconds"] - answer.timings["first_token_seconds"])
