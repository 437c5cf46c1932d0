"""Labelling holds only what is in flight: many rows take hardly more memory than few.

The full form (`make test-full`) labels a million; both print what they measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FEW = 2_000
MOST_MORE_MB = 64


def measured(*counts: int) -> list[dict[str, float]]:
    """Label so many rows, each count in a process of its own, side by side."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.scale", str(count)],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for count in counts
    ]
    found = []
    for count, run in zip(counts, running, strict=True):
        out, err = run.communicate()
        print(out.strip())
        assert run.returncode == 0, err
        found.append(json.loads(out))
        assert found[-1]["rows"] == count
    return found


@pytest.mark.parametrize(
    "rows", [6 * FEW, pytest.param(500 * FEW, marks=[pytest.mark.full, pytest.mark.timeout(3600)])], ids=["12k", "1M"]
)
def test_many_rows_take_at_most_64_mb_more_than_two_thousand(rows: int) -> None:
    few, many = measured(FEW, rows)
    more = many["most_mb"] - few["most_mb"]
    print(f"{rows:,} rows take {more:.1f} MB more than {FEW:,}")
    assert more <= MOST_MORE_MB
