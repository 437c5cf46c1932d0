"""Time to the first token after a system prompt of 512 tokens: computed, against taken from a file of an earlier start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.loopback.peers import folder
from tests.benchmarks.running import files, sides

GOAL = 0.1
TOKENS = 512
LIMIT = "the question's own tokens, and reading the file and its sha256"
PEER = "the same question to the same runner with prefix=none, the model open and its file in memory on both sides"


def run(quick: bool) -> Iterator[Result]:
    """Ask a fresh session its first question, with the file and without, on a file of a real size."""
    file, system = files.real_size("Q8_0"), sides.WORDS * 40
    with sides.opened(file, max_tokens=1) as session:
        system = sides.exactly(session, system, TOKENS)
    with TemporaryDirectory(prefix="pillm-", dir=folder().parent) as work:
        kept = Path(work) / "kept.state"
        with sides.opened(file, max_tokens=1, prefix=str(kept)) as session:
            for text in ("Oui", "Non"):
                sides.asked(session, sides.request(text, system=system))
        cached = _same(file, system, kept)
        took = alternating(
            {"pillm": lambda: _first(file, system, str(kept)), "peer": lambda: _first(file, system, "none")}, 3 if quick else 5
        )
        size = kept.stat().st_size
    yield Result(
        benchmark="run-prefix",
        pillm=round(took["pillm"], 4),
        peer=round(took["peer"], 4),
        unit="s to the first token",
        goal=GOAL,
        better="lower",
        peer_is=PEER,
        limit=LIMIT,
        versions=sides.versions(),
        details={**sides.settings(), "tokens taken from the file": cached, "bytes of the file": size, "answers equal": True},
    )


def _first(file: Path, system: str, prefix: str) -> float:
    """Return the seconds from the question to its first token, in a session that has only opened the model."""
    with sides.opened(file, max_tokens=1, prefix=prefix) as session:
        began = time.perf_counter()
        sides.asked(session, sides.request("Bonjour", system=system))
        return time.perf_counter() - began


def _same(file: Path, system: str, kept: Path) -> int:
    """Return how many tokens come from the file; raise where the answers with it and without differ."""
    said = []
    for prefix in (str(kept), "none"):
        with sides.opened(file, max_tokens=24, prefix=prefix) as session:
            said.append(sides.asked(session, sides.request("Bonjour", system=system)))
    if said[0].token_ids != said[1].token_ids:
        raise RuntimeError(f"the answers differ: {said[0].token_ids} and {said[1].token_ids}")
    cached = said[0].usage.cached_tokens if said[0].usage else 0
    if not cached or cached < TOKENS - 32:
        raise RuntimeError(f"only {cached} tokens came from the file")
    return cached
