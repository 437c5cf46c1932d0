"""`pillm embed`: turn texts into vectors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import pillm
from pillm.cli.choices import assignments, backend_option, new_file
from pillm.cli.targets import model_of, runner_for
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import DataError
from pillm.files import replacing
from pillm.jsonl import json_line, parse_lines, read_lines


@cli_command("embed")
@click.argument("model")
@click.argument("texts")
@backend_option("runner", required=False, more=" embeds; by default one that reads MODEL")
@assignments("runner")
@click.option("--out", type=new_file(), help="Write the vectors to this JSONL file; by default they are printed.")
@click.pass_obj
def command(
    terminal: Terminal, /, model: str, texts: str, runner: str | None, options: dict[str, Any], out: Path | None
) -> None:
    """Turn TEXTS into vectors with MODEL: JSONL of `text` and, where wanted, `id`; `-` reads it from the standard input.

    What comes out is JSONL of `id` (where none was given, the line as text) and `vector`. Runners of .gguf files pool as the
    file's metadata say, else they take the mean, and give vectors of length 1; runner `hf` gives the mean of the last layer as
    it is, of any length. A text longer than the model takes is refused, and --out then writes nothing.
    """
    found = model_of(model, terminal)
    built = runner_for(found, runner, options)
    with terminal.progress("embed") as progress:
        vectors = pillm.embed(_texts(texts), found, built, progress=progress)
        rows: Iterator[dict[str, Any]] = ({"id": row.id, "vector": vector} for row, vector in vectors)
        facts: dict[str, Any] = {"model": found.label, "runner": built.name, "out": str(out) if out else None}
        if out is not None:
            count = width = 0
            with replacing(out) as part, part.open("w", encoding="utf-8", newline="\n") as file:
                for row in rows:
                    file.write(json_line(row))
                    count, width = count + 1, len(row["vector"])
            terminal.result({**facts, "rows": count, "width": width}, f"{out}: {count} vectors of {width} numbers")
        elif terminal.json:
            terminal.result({**facts, "embeddings": list(rows)})
        else:
            for row in rows:
                terminal.result(row, json_line(row).rstrip("\n"))
                sys.stdout.flush()


@dataclass(frozen=True, slots=True, repr=False)
class _Row:
    """What a row is called, and where it stands."""

    id: str | int
    where: str

    def __repr__(self) -> str:
        return f"{self.id!r} ({self.where})"


def _texts(source: str) -> Iterator[tuple[_Row, str]]:
    """Yield each row with its text; a row without an id is known by its line."""
    lines = parse_lines(sys.stdin.buffer, "the standard input") if source == "-" else read_lines(Path(source))
    seen: dict[str | int, str] = {}
    for where, row in lines:
        text, name = row.get("text"), row.get("id", where.rpartition(":")[2])
        if not isinstance(text, str) or not text:
            raise DataError(f'{where}: a row needs a "text" that is not empty. Write {{"id": "a", "text": "..."}}.')
        if not isinstance(name, (str, int)) or isinstance(name, bool):
            raise DataError(f'{where}: "id" is neither a string nor an integer. Mend it or leave it out.')
        if seen.setdefault(name, where) != where:
            raise DataError(f"{where}: the id {name!r} is that of {seen[name]} too. Give each row its own, or none.")
        yield _Row(name, where), text
