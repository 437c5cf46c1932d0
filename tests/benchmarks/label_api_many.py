"""Labels per second with 256 in flight, against a bare loop over the same SDK and transport that stores nothing."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.loopback.labelling import bare_per_second, label_per_second, server

LATENCY, IN_FLIGHT = 0.05, 256
GOAL = 0.85


def run(quick: bool) -> Iterator[Result]:
    """Ask the same with both in turns; the processor is what bounds both."""
    rows, times = (1500, 1) if quick else (8000, 3)
    with server(str(LATENCY)) as url:
        rates = alternating(
            {
                "pillm": lambda: label_per_second(url, rows, IN_FLIGHT),
                "peer": lambda: bare_per_second(url, rows, IN_FLIGHT),
            },
            times,
        )
    yield Result(
        benchmark="label-api-many",
        pillm=round(rates["pillm"], 1),
        peer=round(rates["peer"], 1),
        unit="requests/s",
        goal=GOAL,
        better="higher",
        peer_is="AsyncOpenAI over DefaultAioHttpClient, chat.completions.create in 256 coroutines",
        limit=f"the processor: {IN_FLIGHT} in flight / {LATENCY} s would give {IN_FLIGHT / LATENCY:.0f} requests/s",
        versions={name: importlib.metadata.version(name) for name in ("openai", "aiohttp")},
        details={"rows": rows},
    )
