"""`pillm data merge`: join what several machines labelled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import pillm
from pillm.cli.choices import out_folder, readable
from pillm.cli.terminal import Command
from pillm.stages.merging import merge

if TYPE_CHECKING:
    from pillm.cli.terminal import Terminal


@click.command("merge", cls=Command)
@click.argument("prompts", type=readable(dir_okay=False))
@click.argument("shards", type=readable(file_okay=False), nargs=-1, required=True)
@click.option("--relabel", is_flag=True, help="As it was given to `pillm label`.")
@out_folder(help="Where labelled.jsonl and the store of answers go.")
@click.pass_obj
def merging(terminal: Terminal, /, prompts: Path, shards: tuple[Path, ...], out: Path, relabel: bool) -> None:
    """Join SHARDS, the folders of `pillm label PROMPTS --shard I/N`, as if one machine had labelled all PROMPTS."""
    labelled = merge(pillm.PromptFile(prompts, relabel=relabel), shards, out)
    document = {"rows": labelled.counts.to_json(), "labelled": str(labelled.path), "shards": len(shards)}
    terminal.result(document, f"{labelled.counts}", f"{labelled.path}")
