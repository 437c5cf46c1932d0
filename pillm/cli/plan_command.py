"""`pillm plan`: does a model fit a device, and how fast would it be?"""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

import pillm
from pillm.artifacts import to_json
from pillm.cli.cards import plan_lines
from pillm.cli.targets import model_of
from pillm.cli.terminal import Terminal, cli_command


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from pillm.devices import device_names

    return [CompletionItem(name) for name in device_names() if name.startswith(incomplete)]


@cli_command("plan")
@click.argument("model")
@click.option(
    "--device", required=True, metavar="NAME", shell_complete=_complete, help="A device profile, such as pi4-4gb, or a file."
)
@click.option("--context", type=click.IntRange(1), help="Tokens of context; by default what the profile says.")
@click.option("--quant", metavar="NAME", help="Plan for this quantisation of a checkpoint, such as Q4_K_M.")
@click.pass_context
def command(ctx: click.Context, /, model: str, device: str, context: int | None, quant: str | None) -> None:
    """Say whether MODEL (a .gguf file, a model folder, a config.json) fits a device. Arithmetic: nothing is run.

    Of owner/name of a hub only config.json is fetched.

    Exit 3 where it does not fit.
    """
    terminal: Terminal = ctx.obj
    planned = Path(model) if Path(model).exists() else model_of(model, terminal, only=("config.json",))
    found = pillm.plan(planned, pillm.device(device), context=context, quant=quant)
    terminal.result(to_json(found), *plan_lines(found))
    if not found.fits:
        ctx.exit(3)
