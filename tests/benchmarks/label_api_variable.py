"""Labels per second where latencies vary and 2 % of the calls are refused with 429, against distilabel."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.loopback.labelling import label_per_second, peer_per_second, server
from tests.benchmarks.loopback.peers import version_of

MEAN, CV, REFUSED, IN_FLIGHT = 0.2, 1.0, 0.02, 50
GOAL = 4.0


def run(quick: bool) -> Iterator[Result]:
    """Label the same rows with both in turns; each run checks that every row was answered by one call."""
    rows, times = (300, 1) if quick else (3000, 3)
    with server(f"{MEAN}:{CV}", refused=REFUSED) as url:
        rates = alternating(
            {
                "pillm": lambda: label_per_second(url, rows, IN_FLIGHT),
                "peer": lambda: peer_per_second("distilabel", url, rows, IN_FLIGHT),
            },
            times,
        )
    yield Result(
        benchmark="label-api-variable",
        pillm=round(rates["pillm"], 1),
        peer=round(rates["peer"], 1),
        unit="labels/s",
        goal=GOAL,
        better="higher",
        peer_is="distilabel, TextGeneration over OpenAILLM in batches of 50",
        limit=f"{IN_FLIGHT} in flight / {MEAN} s on average = {IN_FLIGHT / MEAN:.0f} labels/s, less back-offs",
        versions=version_of("distilabel", "distilabel"),
        details={"rows": rows, "latency": f"log-normal, mean {MEAN} s, cv {CV}", "refused": REFUSED},
    )
