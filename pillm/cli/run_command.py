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
from pillm.errors import GateError
from pillm.rehearsal import rehearse
from pillm.runfolder import run_folder

log = logging.getLogger(__name__)


@cli_command("run")
@click.argument("recipe", type=readable(dir_okay=False))
@click.option("--out", type=folder(), help="The run folder; by default runs/NAME-OF-THE-RECIPE.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Change a value of the recipe, repeated.")
@click.option("--dry-run", is_flag=True, help="Resolve and print everything; ask, train and write nothing.")
@retry()
@click.pass_obj
def command(terminal: Terminal, /, recipe: Path, out: Path | None, overrides: tuple[str, ...], **chosen: Any) -> None:
    """Run RECIPE: label, train, export, evaluate, bench, report. What stands already is not done again."""
    loaded = pillm.load_recipe(recipe, overrides)
    target = run_folder(loaded, out)
    if chosen["dry_run"]:
        expected = rehearse(loaded, target, retry=chosen["retry"])
        terminal.result(expected.to_json(), *rehearsal_lines(expected))
        return
    log.info("run folder %s, log %s", target, target / "pillm.log")
    keep_log(target / "pillm.log")
    with terminal.progress() as progress:
        result = pillm.run(loaded, target, progress=progress, retry=chosen["retry"])
    terminal.result(result.report, *run_summary(result.report, result.folder))
    if not result.gates_met:
        missed = [gate for gate in result.gates if not gate.met]
        reasons = "; ".join(gate.sentence.rstrip(".") for gate in missed)
        raise GateError(f"{len(missed)} gates were not met. {reasons}. The files and the report in {result.folder} are kept.")
