"""Killed at any moment, labelling loses nothing, doubles nothing and buys no stored answer again.

The full forms (`make test-full`) kill a thousand times; both print what they counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NEVER = ("lost", "doubled", "disordered", "unverified", "bought again", "failed", "left over")


def counts(*asked: str) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.crashes", *asked]
    run = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    print(run.stdout.strip())
    found: dict[str, int] = json.loads(run.stdout)
    assert {name: found[name] for name in NEVER} == dict.fromkeys(NEVER, 0), run.stderr
    return found


@pytest.mark.parametrize(
    ("kills", "concurrency"),
    [pytest.param(30, 1, marks=pytest.mark.full), (30, 4), pytest.param(40, 16, marks=pytest.mark.full)],
)
def test_random_kills_lose_nothing_and_repeat_at_most_what_was_in_flight(kills: int, concurrency: int) -> None:
    found = counts("kill", "--kills", str(kills), "--concurrency", str(concurrency))
    assert found["kills"] == kills
    assert found["finished"] >= 1
    assert found["repeated"] <= kills * concurrency


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("kills", "concurrency"), [(334, 1), (333, 4), (333, 16)])
def test_a_thousand_random_kills(kills: int, concurrency: int) -> None:
    test_random_kills_lose_nothing_and_repeat_at_most_what_was_in_flight(kills, concurrency)


def test_a_kill_before_every_single_write_loses_nothing() -> None:
    found = counts("points", "--concurrency", "1")
    assert found["kills"] == found["trials"] - 1 > 40
    assert found["repeated"] <= found["kills"]


@pytest.mark.parametrize("stops", [20, pytest.param(50, marks=pytest.mark.full)])
def test_clean_stops_repeat_nothing(stops: int) -> None:
    assert counts("term", "--kills", str(stops), "--concurrency", "4")["repeated"] == 0


@pytest.mark.full
def test_batches_are_bought_once_whenever_a_run_is_killed() -> None:
    """Also between a batch's arrival and the record of its id: it is found again by its name."""
    for found in (counts("points", "--concurrency", "-3"), counts("kill", "--kills", "30", "--concurrency", "-8")):
        assert found["kills"] > 29
        assert found["repeated"] == 0
