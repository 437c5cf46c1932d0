"""Labels per second from a server that takes 200 ms a call, 50 in flight: against distilabel, and against the limit."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.loopback.labelling import label_per_second, peer_per_second, server
from tests.benchmarks.loopback.peers import version_of

LATENCY, IN_FLIGHT = 0.2, 50
GOAL, SHARE_OF_LIMIT = 1.3, 0.95


def run(quick: bool) -> Iterator[Result]:
    """Label the same rows with both in turns; each run checks that every row was answered by one call."""
    rows, times = (300, 1) if quick else (3000, 3)
    with server(str(LATENCY)) as url:
        rates = alternating(
            {
                "pillm": lambda: label_per_second(url, rows, IN_FLIGHT),
                "peer": lambda: peer_per_second("distilabel", url, rows, IN_FLIGHT),
            },
            times,
        )
    bound = IN_FLIGHT / LATENCY
    limit = f"{IN_FLIGHT} in flight / {LATENCY} s = {bound:.0f} labels/s"
    yield Result(
        benchmark="label-api-constant",
        pillm=round(rates["pillm"], 1),
        peer=round(rates["peer"], 1),
        unit="labels/s",
        goal=GOAL,
        better="higher",
        peer_is="distilabel, TextGeneration over OpenAILLM in batches of 50",
        limit=limit,
        versions=version_of("distilabel", "distilabel"),
        details={"rows": rows},
    )
    yield Result(
        benchmark="label-api-constant-limit",
        pillm=round(rates["pillm"], 1),
        peer=bound,
        unit="labels/s",
        goal=SHARE_OF_LIMIT,
        better="higher",
        peer_is="what 50 calls in flight of 200 ms can give",
        limit=f"{limit}; the rest is the first burst, the last answers and publishing {rows} rows",
        details={"rows": rows},
    )
