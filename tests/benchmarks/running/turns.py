"""Tokens per second of one kind of work, in turns with llama-bench of the same source, on files of a real size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count

import pillm
from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.running import files, sides

GOAL = 0.97


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What both sides do: `tokens` says it to llama-bench, `max_tokens` and `speed` to the runner."""

    name: str
    tokens: dict[str, int]
    max_tokens: int
    speed: Callable[[pillm.Session, int], float]
    """Does the work in a session, for the n-th time of 1, 2, 3, and returns tokens per second."""
    digits: int
    """Of what is reported."""
    limit: str
    peer: str
    behind: str | None = None
    """The question whose answer it is: the peer works behind as many tokens; None: behind none."""


def against_llama_bench(work: Work, *, quick: bool) -> Iterator[Result]:
    """Measure each file, once both sides were seen to answer it alike."""
    for quant in ("Q8_0",) if quick else ("Q8_0", "Q4_K_M"):
        file = files.read_anew(files.real_size(quant))
        same = sides.check_tokens(file)
        with sides.opened(file, max_tokens=work.max_tokens) as session:
            depth = sides.prompt_tokens(session, work.behind) if work.behind else 0
            peer = partial(sides.bench, file, **work.tokens, depth=depth)
            peers = {"peer": peer, "alike": partial(peer, huge_pages=True)}
            took = alternating({"pillm": _counted(work, session), **peers}, 3 if quick else 5)
        yield Result(
            benchmark=f"{work.name}-{quant.lower().replace('_', '-')}",
            pillm=round(took["pillm"], work.digits),
            peer=round(took["peer"], work.digits),
            unit="tokens/s",
            goal=GOAL,
            better="higher",
            peer_is=work.peer,
            limit=work.limit,
            versions=sides.versions(),
            details={
                **sides.settings(),
                "greedy tokens equal to llama-server's": same,
                "depth": depth,
                "the peer with its weights in huge pages too": round(took["alike"], work.digits),
            },
        )


def _counted(work: Work, session: pillm.Session) -> Callable[[], float]:
    """Return the work in a session, told each time how often it was done."""
    numbers = count(1)
    return lambda: work.speed(session, next(numbers))
