"""`pillm run`: a whole recipe."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

import pillm
from pillm.cli.choices import folder, readable, retry
from pillm.cli.logs import keep_log
from pillm.cli.summary import rehearsal_lines, run_summary
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import GateError, Unavailable
from pillm.rehearsal import rehearse
from pillm.runfolder import run_folder

log = logging.getLogger(__name__)


@cli_command("run")
@click.argument("recipe", type=readable(dir_okay=False))
@click.option("--out", type=folder(), help="The run folder; by default runs/NAME-OF-THE-RECIPE.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Change a value of the recipe, repeated.")
@click.option("--dry-run", is_flag=True, help="Resolve and print everything; ask, train and write nothing.")
@click.option("--timed", is_flag=True, help="With --dry-run: take a few training steps on a copy, and tell time and memory.")
@retry()
@click.pass_obj
def command(terminal: Terminal, /, recipe: Path, out: Path | None, overrides: tuple[str, ...], **chosen: Any) -> None:
    """Run RECIPE: label, train, export, evaluate, bench, report. What stands already is not done again."""
    if chosen["timed"] and not chosen["dry_run"]:
        raise click.UsageError("--timed tells what training would take: say --dry-run too.")
    loaded = pillm.load_recipe(recipe, overrides)
    target = run_folder(loaded, out)
    if chosen["dry_run"]:
        expected = rehearse(loaded, target, retry=chosen["retry"], timed=chosen["timed"])
        terminal.result(expected.to_json(), *rehearsal_lines(expected))
        return
    log.info("run folder %s, log %s", target, target / "pillm.log")
    keep_log(target / "pillm.log")
    with terminal.progress() as progress:
        result = pillm.run(loaded, target, progress=progress, retry=chosen["retry"])
    terminal.result(result.report, *run_summary(result.report, result.folder))
    _judge(result)


def _judge(result: pillm.RunResult) -> None:
    """Raise GateError where a gate was missed, else Unavailable where one could not be judged; what was made is kept."""
    kept = f"The files and the report in {result.folder} are kept."
    missed = [gate for gate in result.gates if gate.met is False]
    void = [gate for gate in result.gates if gate.met is None]
    reasons = "; ".join(gate.sentence.rstrip(".") for gate in (*missed, *void))
    if missed:
        more = f", and {len(void)} were not judged" if void else ""
        raise GateError(f"{len(missed)} gates were not met{more}. {reasons}. {kept}")
    if void:
        raise Unavailable(
            f"{len(void)} gates were not judged, for the machine was disturbed. {reasons}. {kept} Run the same command again "
            "when the machine is quiet: it measures again; bench.max_spread allows for a busier one."
        )
