"""Labels per second from a server that takes 50 ms a call, 256 in flight, against curator."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.loopback.labelling import label_per_second, peer_per_second, server
from tests.benchmarks.loopback.peers import version_of

LATENCY, IN_FLIGHT = 0.05, 256
GOAL = 1.2


def run(quick: bool) -> Iterator[Result]:
    """Label the same rows with both in turns; each run checks that every row was answered by one call."""
    rows, times = (500, 1) if quick else (4000, 3)
    with server(str(LATENCY)) as url:
        rates = alternating(
            {
                "pillm": lambda: label_per_second(url, rows, IN_FLIGHT),
                "peer": lambda: peer_per_second("curator", url, rows, IN_FLIGHT),
            },
            times,
        )
    yield Result(
        benchmark="label-api-curator",
        pillm=round(rates["pillm"], 1),
        peer=round(rates["peer"], 1),
        unit="labels/s",
        goal=GOAL,
        better="higher",
        peer_is="curator.LLM with backend openai, its rate limits set out of the way",
        limit=f"the processor: {IN_FLIGHT} in flight / {LATENCY} s would give {IN_FLIGHT / LATENCY:.0f} labels/s",
        versions=version_of("curator", "bespokelabs-curator"),
        details={"rows": rows},
    )
