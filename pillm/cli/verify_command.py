"""`pillm verify`: is every file still what its manifest says, and does a model file tell the story of its run?"""

from __future__ import annotations

from pathlib import Path

import click

import pillm
from pillm.artifacts import to_json
from pillm.cli.choices import folder, readable
from pillm.cli.terminal import Terminal, cli_command
from pillm.store import MANIFEST

WRONG = "Error: the files above are not what was made. "
REMEDY = (
    "Remove the changed ones, but no manifest.json, and run the same command again: their stage is made anew. "
    "Keep answers.sqlite, changed or not: it holds the answers that were bought, and the command reads them from it."
)
AGAIN = "Error: the files above are not what was passed on. Copy or fetch them again from where they came from."
UNTRUE = (
    "Error: the file is not what the run made, or the run was changed since. Take the file from its export again, or export "
    "it again."
)


@cli_command("verify")
@click.argument("path", type=readable())
@click.option("--run", type=folder(), help="The run that a model file is held against; by default where it lies.")
@click.pass_context
def command(ctx: click.Context, /, path: Path, run: Path | None) -> None:
    """Recompute the hashes of PATH: a run, a stage's folder, or one file of it. Exit 1 names what was changed.

    A GGUF file's own lineage (recipe, data, teacher, contract, seed) is also held against the run.
    """
    terminal: Terminal = ctx.obj
    if run is not None and not path.is_file():
        raise click.UsageError("--run is for a model file: name the .gguf file.")
    problems = pillm.verify(path) if run is None else []
    traced = pillm.trace(path, run) if run is not None or path.suffix == ".gguf" else []
    untrue = [one for one in traced if not one.agrees]
    document = {"path": str(path), "verified": not (problems or untrue),
                "problems": [{"path": str(problem.path), "reason": problem.reason} for problem in problems]}  # fmt: skip
    if traced:
        document["lineage"] = [to_json(one) for one in traced]
    lines = [f"{problem.path} {problem.reason}" for problem in problems] + [str(one) for one in traced]
    terminal.result(document, *(lines or [f"{path}: every file is what its manifest says"]))
    if problems and not _has_manifest(path):
        click.echo(AGAIN, err=True)
    elif problems:
        away = ", ".join(dict.fromkeys(str(problem.away) for problem in problems if problem.away))
        lost = f"Nothing in {away} says any more what made it: move the whole folder away and run the same command again. "
        others = REMEDY if any(problem.away is None for problem in problems) else ""
        click.echo((WRONG + (lost if away else "") + others).rstrip(), err=True)
    elif untrue:
        click.echo(UNTRUE, err=True)
    if problems or untrue:
        ctx.exit(1)


def _has_manifest(path: Path) -> bool:
    """Say whether a stage or a run made what is there: files that were passed on are made anew by nothing."""
    places = path.rglob(MANIFEST) if path.is_dir() else (folder / MANIFEST for folder in path.resolve().parents)
    return any(place.is_file() for place in places)
