"""The table of a choice on a terminal."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from pillm.cli.choice_table import choice_table
from pillm.report.choicefile import accepted

TRIALS = [
    {"name": "Q8_0", "bytes": 2_000_000, "kld": 0.0004, "front": True},
    {"name": "Q4_0", "bytes": 1_100_000, "kld": 0.05, "tg_tps": 700.0, "score": 0.85},
    {"name": "Q4_0-tuned", "bytes": 1_100_000, "kld": 0.01, "front": True, "kept": True},
]


def test_every_file_stands_in_the_table_and_the_pick_is_marked() -> None:
    choice = accepted({"picked": "Q4_0-tuned", "trials": TRIALS})
    assert choice is not None
    screen = StringIO()
    Console(file=screen, width=120).print(choice_table(choice))
    lines = screen.getvalue().splitlines()
    assert len(lines) == 4
    assert [line.split()[0] for line in lines[1:]] == ["Q4_0", "Q4_0-tuned", "Q8_0"]
    assert lines[1].endswith("beaten")
    assert "0.850" in lines[1]
    assert lines[2].rstrip().endswith("ships")
