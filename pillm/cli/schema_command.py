"""`pillm schema`: the JSON Schemas of what pillm reads and writes."""

from __future__ import annotations

import json

import click
from click.shell_completion import CompletionItem

from pillm.cli.formats import FORMATS, format_schema
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import ConfigError, did_you_mean
from pillm.rows import named_schema, schema_folders


def answer_schemas() -> list[str]:
    """Return the names of the schemas that rows may ask answers to satisfy."""
    names = {path.name.removesuffix(".schema.json") for folder in schema_folders() for path in folder.glob("*.schema.json")}
    return sorted(names - FORMATS.keys())


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in [*FORMATS, *answer_schemas()] if name.startswith(incomplete)]


@cli_command("schema")
@click.argument("what", required=False, shell_complete=_complete)
@click.pass_obj
def command(terminal: Terminal, /, what: str | None) -> None:
    """Print the JSON Schema of WHAT: a file format, or an answer schema that rows name. Without WHAT, list them."""
    answers = answer_schemas()
    if what is None:
        lines = [f"{name:12} {about}" for name, (about, _) in FORMATS.items()]
        lines += [f"{name:12} An answer schema; rows name it in 'schema'." for name in answers]
        document = {"formats": {name: about for name, (about, _) in FORMATS.items()}, "answers": answers}
        terminal.result(document, *lines)
        return
    if what not in FORMATS and what not in answers:
        known = [*FORMATS, *answers]
        raise ConfigError(f"no schema is called {what!r}.{did_you_mean(what, known)} Known: {', '.join(known)}.")
    schema = format_schema(what) if what in FORMATS else named_schema(what)
    terminal.result(schema, json.dumps(schema, ensure_ascii=False, indent=2))
