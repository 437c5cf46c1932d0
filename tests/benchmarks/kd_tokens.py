"""Answer tokens that distillation needs until the nano student is as near to its teacher as training on labels leaves it.

Both are trainings of the quickstart's recipe, one with `distill` and one without; the teacher keeps twice as many
log-probabilities as there, and the last weights count, not those of the best validation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Result
from tests.benchmarks.loopback.peers import folder
from tests.benchmarks.teaching.nano import LOGPROBS, RECIPE, label

GOAL = 0.6
ROOT = Path(__file__).parents[2]
DISTILL = {"source": "labels", "weight": 0.7, "temperature": 2.0}
FRACTIONS = (0.6, 0.5, 0.4, 0.3)
"""Of the quickstart's steps; each training has a schedule of its own, as one that was meant to be so short has."""


def run(quick: bool) -> Iterator[Result]:
    """Train without distill, then ever less with the teacher's distributions, as long as they lead as near to it."""
    labelled = label(folder().parent / "kd-labels")
    sft = _trained(labelled, 1.0, None)
    tried: dict[float, dict[str, Any]] = {}
    for fraction in (0.5,) if quick else FRACTIONS:
        tried[fraction] = _trained(labelled, fraction, DISTILL)
        if tried[fraction]["kl"] > sft["kl"]:
            break
    reached = [fraction for fraction, found in tried.items() if found["kl"] <= sft["kl"]]
    enough = tried[min(reached)] if reached else _trained(labelled, 1.0, DISTILL)
    yield Result(
        benchmark="kd-tokens",
        pillm=enough["answer_tokens"],
        peer=sft["answer_tokens"],
        unit="answer tokens",
        goal=GOAL,
        better="lower",
        peer_is=f"the training of {RECIPE.name} without distill, on the labels alone",
        limit="a label says one token, a distribution all; how much that is depends on how unsure the teacher is",
        details={
            "distill": DISTILL,
            "logprobs": LOGPROBS,
            "kl_of_labels_alone": sft["kl"],
            "kl_at_share_of_tokens": {f"{fraction:g}": found["kl"] for fraction, found in tried.items()},
            "kl_at_equal_time": _at_equal_time(tried, sft),
        },
    )


def _at_equal_time(tried: dict[float, dict[str, Any]], sft: dict[str, Any]) -> dict[str, Any]:
    """Return how near the longest of the distillations came, and its time over that of the plain training."""
    longest = tried[max(tried)]
    return {"kl": longest["kl"], "time": round((longest["seconds"] + longest["prepared"]) / sft["seconds"], 3)}


def _trained(labelled: Path, fraction: float, distill: dict[str, Any] | None) -> dict[str, Any]:
    options = [f"{name}={value}" for name, value in (distill or {}).items()]
    command = [sys.executable, "-m", "tests.benchmarks.teaching.nano", str(labelled), str(fraction), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found
