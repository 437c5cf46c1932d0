"""`pillm bench import`: records that were made elsewhere, such as on a board, go into the history."""

from __future__ import annotations

from pathlib import Path

import click

from pillm.artifacts import to_json
from pillm.cli.choices import new_file, readable
from pillm.cli.terminal import Command, Terminal
from pillm.performance.benchmark import read_benchmark
from pillm.performance.history import History, default_history


@click.command("import", cls=Command)
@click.argument("records", nargs=-1, required=True, type=readable(dir_okay=False), metavar="RECORD...")
@click.option("--history", type=new_file(), help="Keep them in this history instead of the user's own.")
@click.pass_obj
def imported(terminal: Terminal, /, records: tuple[Path, ...], history: Path | None) -> None:
    """Put each RECORD, a file that `rpi4/bench/run.sh` or `pillm bench --out` wrote, into the history.

    One that is in it already is not put in again. A file that is no record is refused, and then none is put in (exit 2).
    """
    kept = History(history or default_history())
    found = [(path, to_json(read_benchmark(path.read_bytes(), str(path)))) for path in records]
    numbers = {}
    there = [(one.sequence, one.body.get("record")) for one in kept.read().entries if one.kind == "measured"]
    for path, record in found:
        known = next((number for number, before in there if before == record), None)
        numbers[str(path)] = known or kept.append("measured", {"record": record})
        there.append((numbers[str(path)], record))
        terminal.say(f"{path} {'is' if known else 'is now'} number {numbers[str(path)]} of {kept.path}")
    terminal.result({"history": str(kept.path), "numbers": numbers})
