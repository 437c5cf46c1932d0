"""`pillm data`: make, expand, split, merge and convert rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

import pillm
from pillm.cli.choices import new_file, out_folder, readable, seed
from pillm.cli.merging import merging
from pillm.cli.pairs import pairs
from pillm.cli.promptmaking import expand, prompts
from pillm.cli.terminal import Command, Terminal
from pillm.files import replacing
from pillm.rows import write_rows
from pillm.stages.sides import split_file
from pillm.tasks import native_row


@click.group("data")
def command() -> None:
    """Make, expand, split, merge and convert rows."""


command.add_command(prompts)
command.add_command(expand)
command.add_command(pairs)
command.add_command(merging)


@command.command("split", cls=Command)
@click.argument("rows", type=readable(dir_okay=False))
@click.option("--test", type=click.IntRange(0), default=0, help="Rows held out for scoring.")
@click.option("--validation", type=click.IntRange(0), default=0, help="Rows that training is watched with.")
@click.option("--calibration", type=click.IntRange(0), default=0, help="Rows that quantisation may be calibrated with.")
@click.option("--by", type=click.Choice(["group", "id"]), default="group", show_default=True, help="What stays together.")
@seed
@out_folder(help="Where test.jsonl, validation.jsonl, calibration.jsonl and train.jsonl go.")
@click.pass_obj
def split(terminal: Terminal, /, rows: Path, out: Path, **sizes: Any) -> None:
    """Split ROWS (JSONL), whole groups to one side. Sizes are least sizes; the rest is for training."""
    made = split_file(rows, out, **sizes)
    document = {path.stem: {"rows": count, "file": str(path)} for path, count in made.items()}
    terminal.result(document, *(f"{count:6} {path}" for path, count in made.items()))


@command.command("convert", cls=Command)
@click.argument("rows", type=readable(dir_okay=False))
@click.option("--out", type=new_file(), help="Write here instead of to stdout.")
@click.pass_obj
def convert(terminal: Terminal, /, rows: Path, out: Path | None) -> None:
    """Write ROWS (flat, Alpaca, ShareGPT, prompt/completion, preferences) as native `messages` rows."""
    native = [native_row(prompt) for prompt in pillm.read_prompts(rows)]
    if out is None:
        terminal.result(native, *(json.dumps(row, ensure_ascii=False) for row in native))
        return
    with replacing(out) as part:
        write_rows(part, native)
    terminal.result({"rows": len(native), "file": str(out)}, f"{len(native)} rows in {out}")
