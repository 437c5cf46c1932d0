"""The two streams of a command: its result goes to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pillm.progress import Progress, Reader

WIDE = 160
"""Columns of a table that nobody watches: lines are long instead of folded."""


class Terminal:
    """What the global options chose, and how a command speaks."""

    def __init__(self, json: bool = False) -> None:
        self.json = json
        self.verbosity = 0
        self.log_file: str | None = None
        self.env_file: str | None = None
        self._spoken = False

    def begin(self) -> None:
        """Read the env file and start logging, once all options are known."""
        from pathlib import Path

        from pillm.cli.logs import start_logging

        if self.env_file:
            from pillm.cli.envfile import load_env

            load_env(Path(self.env_file))
        start_logging(self.verbosity, Path(self.log_file) if self.log_file else None)

    def result(self, document: Any, *shown: Any) -> None:
        """Print the result: one JSON document with --json, else texts and rich tables."""
        if self.json:
            import json

            click.echo(json.dumps(document, ensure_ascii=False, indent=2, default=_plain))
            self._spoken = True
            return
        for item in shown:
            if isinstance(item, str):
                click.echo(item)
            else:
                _show(item)

    def refusal(self, kind: str, message: str, exit_code: int) -> None:
        """With --json, print the error as the one document, unless the result stands there already."""
        if self.json and not self._spoken:
            self.result({"error": {"kind": kind, "message": message, "exit_code": exit_code}})

    def say(self, message: str) -> None:
        """Tell the person something that is not the result."""
        if self.verbosity >= 0:
            click.echo(message, err=True)

    @contextmanager
    def progress(self, stage: str = "", *readers: Reader) -> Iterator[Progress]:
        """Give a progress that is shown on stderr while the work lasts, and written to the log."""
        from pillm.cli.logs import log_event
        from pillm.cli.progress_bar import shown
        from pillm.progress import Progress

        with shown(-self.verbosity) as bar:
            yield Progress(stage, (bar, log_event, *readers))


def _show(item: Any) -> None:
    from rich.console import Console

    watched = any(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))  # `| less` is watched too
    Console(highlight=False, markup=False, width=None if watched else WIDE).print(item)


def _plain(value: Any) -> Any:
    from dataclasses import asdict, is_dataclass

    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def store(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        terminal = ctx.ensure_object(Terminal)
        if value:
            setattr(terminal, name, value)

    return store


def _louder(sign: int) -> Callable[[click.Context, click.Parameter, int], None]:
    def store(ctx: click.Context, _: click.Parameter, count: int) -> None:
        ctx.ensure_object(Terminal).verbosity += sign * count

    return store


def global_options() -> list[click.Option]:
    """Return the options that stand before or after every command's name."""
    option = partial(click.Option, expose_value=False)
    file = partial(click.Path, dir_okay=False)
    return [
        option(["-v", "--verbose"], count=True, callback=_louder(1), help="Say more; twice for debugging."),
        option(["-q", "--quiet"], count=True, callback=_louder(-1), help="Say only what matters; twice for errors only."),
        option(["--log-file"], type=file(), callback=_set("log_file"), help="Also write a log to this file."),
        option(["--env-file"], type=file(exists=True), callback=_set("env_file"),
               help="Read environment variables from this file; no .env is read otherwise."),
    ]  # fmt: skip


class Command(click.Command):
    """A command with the global options and --json."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params.append(click.Option(["--json"], is_flag=True, expose_value=False, callback=_set("json"),
                                        help="Print one JSON document on stdout."))  # fmt: skip
        self.params += global_options()

    def invoke(self, ctx: click.Context) -> Any:
        """Start logging and run."""
        ctx.ensure_object(Terminal).begin()
        return super().invoke(ctx)


cli_command = partial(click.command, cls=Command)
