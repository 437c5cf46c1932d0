"""`pillm completion`: the script that makes a shell complete commands, options and backend names."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import ConfigError

HOW = {
    "bash": 'eval "$(pillm completion bash)"          # in ~/.bashrc',
    "zsh": 'eval "$(pillm completion zsh)"           # in ~/.zshrc',
    "fish": "pillm completion fish > ~/.config/fish/completions/pillm.fish",
}


@cli_command("completion")
@click.argument("shell", required=False, type=click.Choice(list(HOW)))
@click.pass_obj
def command(terminal: Terminal, /, shell: str | None) -> None:
    """Print the completion script of SHELL (by default the one you use); see the last line for how to install it."""
    chosen = shell or os.path.basename(os.environ.get("SHELL", ""))  # noqa: PTH119 - a name, not a file
    completer = get_completion_class(chosen)
    if chosen not in HOW or completer is None:
        raise ConfigError(f"no completion is known for the shell {chosen!r}. Name one: pillm completion {'|'.join(HOW)}")
    from pillm.cli.program import program

    script = completer(program, {}, "pillm", "_PILLM_COMPLETE").source()
    terminal.result({"shell": chosen, "script": script, "install": HOW[chosen]}, script)
    terminal.say(f"To install it: {HOW[chosen]}")
