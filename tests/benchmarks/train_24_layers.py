"""Tokens per second of LoRA on twenty-four layers of Qwen2's shape, against TRL's SFTTrainer: its defaults, and tuned."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.fitting.comparing import speeds
from tests.benchmarks.harness import Result


def run(quick: bool) -> Iterator[Result]:
    """Train the same rows in turns; every run must find the same losses first."""
    rows, times = (8, 1) if quick else (16, 2)
    yield from speeds("train-24-layers", 24, rows, times, {"defaults": 2.3, "tuned": 1.25})
