"""A training step that learns stored distributions (32 outcomes a token), against pillm's own step on the labels alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.fitting import settings, student
from tests.benchmarks.harness import Result
from tests.benchmarks.loopback.peers import folder

GOAL, MOST_BYTES = 1.10, 128
ROOT = Path(__file__).parents[2]


def run(quick: bool) -> Iterator[Result]:
    """Take both kinds of step in turns in one process; without a divergence the loss must be the labels' first."""
    times, rows = (6, 24) if quick else (24, 48)
    model = student.model_folder(4, folder().parent / "students")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "rows.jsonl"
        student.write_rows(path, rows, seed=7)
        command = [sys.executable, "-m", "tests.benchmarks.teaching.steps", str(model), str(path), str(times)]
        told = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=True)
    found = json.loads(told.stdout.splitlines()[-1])
    if found["bytes_per_token"] > MOST_BYTES:
        raise AssertionError(f"the cache takes {found['bytes_per_token']:.1f} bytes a token, more than {MOST_BYTES}")
    yield Result(
        benchmark="kd-step",
        pillm=round(found["kd"], 4),
        peer=round(found["sft"], 4),
        unit="s",
        goal=GOAL,
        better="lower",
        peer_is="pillm's own step on the labels alone, same rows",
        limit="one more sum and one more product over the logits of the answer tokens, in the processor's cache",
        details={
            "bytes_per_token": round(found["bytes_per_token"], 1),
            "cpu_seconds_ratio": round(found["cpu_seconds_ratio"], 4),
            "dtype": found["dtype"],
            "rows_per_step": settings.BATCH,
            "threads": settings.THREADS,
        },
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(settings.THREADS), "HF_HUB_OFFLINE": "1"}
