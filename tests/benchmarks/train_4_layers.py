"""Tokens per second of LoRA on four layers of Qwen2's shape, against TRL's SFTTrainer: its defaults, and tuned."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.fitting.comparing import speeds
from tests.benchmarks.harness import Result


def run(quick: bool) -> Iterator[Result]:
    """Train the same rows in turns; every run must find the same losses first."""
    rows, times = (16, 1) if quick else (24, 3)
    yield from speeds("train-4-layers", 4, rows, times, {"defaults": 3.5, "tuned": 1.9})
