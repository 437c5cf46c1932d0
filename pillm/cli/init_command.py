"""`pillm init`: a recipe and sample rows to start from."""

from __future__ import annotations

from pathlib import Path

import click

from pillm.cli.choices import folder
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import ConfigError
from pillm.files import write_text

STARTER = Path(__file__).parent / "starter"
FILES = ("recipe.yaml", "prompts.jsonl", "README.md")


@cli_command("init")
@click.argument("target", metavar="[FOLDER]", type=folder(), default=Path())
@click.pass_obj
def command(terminal: Terminal, /, target: Path) -> None:
    """Write a commented recipe, ten sample rows and a README into FOLDER (by default here). Nothing is overwritten."""
    standing = [name for name in FILES if (target / name).exists()]
    if standing:
        raise ConfigError(
            f"{target / standing[0]} exists already; nothing was written. Choose another folder: pillm init FOLDER"
        )
    for name in FILES:
        write_text(target / name, (STARTER / name).read_text("utf-8"))
    first = "" if target == Path() else f"cd {target} && "
    lines = [f"wrote {target / name}" for name in FILES] + ["", f"Next: {first}pillm run recipe.yaml"]
    terminal.result({"folder": str(target), "files": [str(target / name) for name in FILES]}, *lines)
