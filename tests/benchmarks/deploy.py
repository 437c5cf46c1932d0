"""`pillm deploy` broken at every step: what a board that is asked every 50 ms answers meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

from tests.benchmarks.harness import Result
from tests.deploys import Count, a_field, break_everywhere

BREAKS = {"kill": "pillm killed with kill -9", "cut": "its connection cut"}
_LIMIT = (
    "a stand-in for llama-server over a loopback sshd: the steps are the real ones, the network and the board are this machine"
)


def run(quick: bool) -> Iterator[Result]:
    """Yield the share of right answers while deployments are killed, then while their connections are cut."""
    for how, words in BREAKS.items():
        with a_field() as place:
            yield _told(how, words, break_everywhere(place, how, range(1, 4) if quick else None, words=not quick))


def _told(how: str, words: str, count: Count) -> Result:
    """Return the figure of some broken deployments; raise where one was left unfinished or left a process behind."""
    if count.unfinished or count.strays or not count.broken or not count.asked:
        raise AssertionError(f"deployments that were broken by {how} were not mended by the same command: {count}")
    return Result(
        benchmark=f"deploy-{how}",
        pillm=float(count.asked - count.wrong - count.refused),
        peer=float(count.asked),
        unit="right answers",
        goal=1.0,
        better="higher",
        peer_is=f"every question that was asked of the board while deployments were broken, {words}",
        limit=_LIMIT,
        details={**asdict(count), "day": datetime.now(UTC).date().isoformat()},
    )
