"""`pillm fetch`: bring a model of a hub to this machine, pinned to a commit."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pillm
from pillm.artifacts import to_json
from pillm.cli.choices import new_file
from pillm.cli.sizes import size_text
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import DataError
from pillm.progress import events_file

if TYPE_CHECKING:
    from rich.table import Table

    from pillm.hubs import RemoteModel


@cli_command("fetch")
@click.argument("model")
@click.option("--revision", metavar="NAME", help="A branch, a tag or a commit; the same as MODEL@NAME.")
@click.option("--file", "files", multiple=True, metavar="NAME.gguf", help="A model file to fetch, of those that MODEL holds.")
@click.option("--dry-run", is_flag=True, help="Print the files with their sizes; fetch nothing.")
@click.option("--events", type=new_file(), help="Also append the progress, as JSON lines, to this file.")
@click.pass_obj
def command(terminal: Terminal, /, model: str, revision: str | None, files: tuple[str, ...], **chosen: Any) -> None:
    """Fetch MODEL, owner/name of a hub, and print its folder. What is here already is not fetched again.

    Weights as *.safetensors, the tokenizer and the configuration: never code, never a pickle. A download that was cut goes on.
    Of a repository of GGUF files, as `pillm push` makes them, those that --file names are fetched, and their paths printed.
    """
    events: Path | None = chosen["events"]
    if chosen["dry_run"]:
        found = pillm.find_model(model, revision)
        if found is None:
            raise DataError(f"{model} is no model of a hub, so there is nothing to fetch. Write owner/name.")
        found = replace(found, files=tuple(file for file in found.files if not files or _wanted(file.name, files)))
        terminal.result({**to_json(found), "missing_bytes": found.missing_bytes}, *_lines(found, files))
        return
    with ExitStack() as stack:
        readers = (stack.enter_context(events_file(events)),) if events else ()
        progress = stack.enter_context(terminal.progress("fetch", *readers))
        checkpoint = pillm.fetch_model(model, revision, only=files or None, progress=progress)
    paths = [str(checkpoint.path / name) for name in files]
    document = {"folder": str(checkpoint.path), "origin": checkpoint.origin, **({"files": paths} if paths else {})}
    terminal.result(document, *(paths or [str(checkpoint.path)]))


def _wanted(name: str, files: tuple[str, ...]) -> bool:
    return name in files or not name.endswith(".gguf")


def _lines(found: RemoteModel, files: tuple[str, ...]) -> list[Table | str]:
    if not found.files:
        return [f"{found.identity} is on this machine already: {found.folder}"]
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    for file in found.files:
        table.add_row(file.name, size_text(file.bytes), "yes" if file.here else "")
    total = size_text(sum(file.bytes for file in found.files))
    left_out = f"Never fetched: {', '.join(found.left_out)}." if found.left_out else ""
    said = f"{found.identity}: {total}, of which {size_text(found.missing_bytes)} would be fetched. Nothing was fetched."
    if not all(_wanted(file.name, files) for file in found.files):
        said = f"{found.identity}: {total}. Say which of the model files with --file NAME. Nothing was fetched."
    return [table, "", *([left_out] if left_out else []), said]
