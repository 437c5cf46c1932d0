"""`pillm verify`: is every file still what its manifest says?"""

from __future__ import annotations

from pathlib import Path

import click

import pillm
from pillm.cli.choices import readable
from pillm.cli.terminal import Terminal, cli_command

WRONG = "Error: the files above are not what was made. "
REMEDY = (
    "Remove the changed ones, but no manifest.json, and run the same command again: their stage is made anew. "
    "Keep answers.sqlite, changed or not: it holds the answers that were bought, and the command reads them from it."
)


@cli_command("verify")
@click.argument("path", type=readable())
@click.pass_context
def command(ctx: click.Context, /, path: Path) -> None:
    """Recompute the hashes of PATH: a run, a stage's folder, or one file of it. Exit 1 names what was changed."""
    terminal: Terminal = ctx.obj
    problems = pillm.verify(path)
    document = {"path": str(path), "verified": not problems,
                "problems": [{"path": str(problem.path), "reason": problem.reason} for problem in problems]}  # fmt: skip
    lines = [f"{problem.path} {problem.reason}" for problem in problems] or [f"{path}: every file is what its manifest says"]
    terminal.result(document, *lines)
    if problems:
        away = ", ".join(dict.fromkeys(str(problem.away) for problem in problems if problem.away))
        lost = f"Nothing in {away} says any more what made it: move the whole folder away and run the same command again. "
        others = REMEDY if any(problem.away is None for problem in problems) else ""
        click.echo((WRONG + (lost if away else "") + others).rstrip(), err=True)
        ctx.exit(1)
