"""How long `pillm --help` takes, against importing the two libraries that it is built on."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pillm.cli.program import SUMMARIES
from tests.benchmarks.harness import Result, alternating, seconds_of

GOAL = 1.5


def run(quick: bool) -> Iterator[Result]:
    """Check that the help is complete, then time it."""
    script = [str(Path(sys.executable).parent / "pillm"), "--help"]
    shown = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    missing = [name for name in SUMMARIES if f"\n  {name} " not in shown]
    if missing:
        raise AssertionError(f"the help lacks {missing}")
    commands = {
        "pillm": script,
        "peer": [sys.executable, "-c", "import click, pluggy"],
        "python": [sys.executable, "-c", "pass"],
    }
    timers = {name: (lambda command=command: seconds_of(command)) for name, command in commands.items()}
    medians = alternating(timers, 3 if quick else 10)
    yield Result(
        benchmark="help",
        pillm=round(medians["pillm"], 5),
        peer=round(medians["peer"], 5),
        unit="s",
        goal=GOAL,
        better="lower",
        peer_is='python -c "import click, pluggy"',
        limit=f"starting Python takes {medians['python']:.3f} s, importing click most of the rest",
        versions={name: importlib.metadata.version(name) for name in ("click", "pluggy")},
    )
