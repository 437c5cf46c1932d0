"""`pillm deploy`: put a model to work on boards, look after it there, and go back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pillm.cli.choices import new_file, readable
from pillm.cli.terminal import Terminal, cli_command

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIONS = ("model", "rollback", "status", "logs", "restart", "stop", "remove")
_BELONGS = {
    "dry_run": ("model", "rollback"), "wait": ("model", "rollback", "restart"), "every": ("status",),
    "lines": ("logs",), "release": ("logs",),
}  # fmt: skip
"""What the options other than those of a deployment belong to."""
_ALWAYS = ("hosts", "name", "known_hosts", "accepted", "ssh_config", *ACTIONS)


def _either(yes: str, no: str, name: str, text: str) -> Callable[[Any], Any]:
    return click.option(f"--{yes}/--{no}", name, default=None, help=text)


@cli_command("deploy")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.option("--model", type=readable(), help="A run, of which the file that it chose is sent, or a GGUF file.")
@click.option("--rollback", is_flag=True, help="Let the release before the current one answer again.")
@click.option("--status", is_flag=True, help="Say how it stands there; exit code 1 where it does not answer.")
@click.option("--logs", is_flag=True, help="Print the end of the server's log.")
@click.option("--restart", is_flag=True, help="Start it anew, whatever became of it.")
@click.option("--stop", is_flag=True, help="Let nothing answer until --restart; its files stay.")
@click.option("--remove", is_flag=True, help="Stop it, and remove its files there.")
@click.option("--all", "every", is_flag=True, help="With --status: of every name on the board.")
@click.option("-n", "lines", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Lines of the log.")
@click.option("--release", metavar="ID|last-failed", help="With --logs: of that release, not of the one that answers.")
@click.option("--dry-run", is_flag=True, help="Look at the boards and say what would be done.")
@click.option("--name", default="default", show_default=True, help="Several models on one board have several names.")
@click.option("--port", type=click.IntRange(1024, 65535), help="Port on 127.0.0.1 there; 8080 unless it has one already.")
@click.option("--server", help="The llama-server there: a name or a path. [default: llama-server]")
@click.option("--context", type=click.IntRange(256), help="Tokens of prompt and answer. [default: 2048]")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads; by default one a core, at most 4.")
@click.option("--temperature", type=click.FloatRange(0), help="For requests that say none. [default: 0, as it was scored]")
@click.option("--predict", type=click.IntRange(1), help="Tokens of an answer at most, likewise. [default: 512]")
@_either("constrained", "free", "constrained", "Hold every answer to the JSON Schema that the run's rows share, or not.")
@_either("system", "no-system", "system", "Add training's system message where a caller sends none. [default: yes]")
@click.option("--api-key-file", type=readable(dir_okay=False), help="Keys that callers must show, one a line; else as it was.")
@click.option("--defaults", is_flag=True, help="Forget what earlier deployments were told; keys and port stay.")
@click.option("--wait", type=click.FloatRange(1), default=180.0, show_default=True, help="Seconds until it must be ready.")
@click.option("--smoke", metavar="PROMPT", help="Ask this before it takes the place, not rows of the run; `any`: a greeting.")
@click.option("--smoke-answer", metavar="TEXT", help="How the answer to --smoke must begin; else any answer will do.")
@click.option("--known-hosts", type=new_file(), help="File of the only keys to trust; else pillm's own, then your ssh's.")
@click.option("--accept-host-key", "accepted", multiple=True, metavar="SHA256:...", help="An unknown host's key to trust.")
@click.option("--ssh-config", type=readable(dir_okay=False), help="A configuration that ssh reads instead of yours.")
@click.pass_context
def command(ctx: click.Context, /, hosts: tuple[str, ...], **chosen: Any) -> None:
    """Bring --model to each HOST beside what answers there, try it, and let it take the place without a gap.

    A model that does not start, is not healthy or fails its smoke test never takes the place. What is not said (--context,
    --threads, --server, --temperature, --predict, --constrained, --system, keys, port) stays as it was said before. Several
    hosts are done one after the other; one that fails does not stop the others, and its exit code is the command's. --json
    prints a list of one object for each HOST.
    """
    from pillm.cli.deploying import over_hosts

    terminal: Terminal = ctx.obj
    action = _action(ctx, chosen)
    code = over_hosts(terminal, action, hosts, chosen)
    if code:
        ctx.exit(code)


def _action(ctx: click.Context, chosen: dict[str, Any]) -> str:
    """Return the one thing that is to be done; refuse none, several, and options that belong to another."""
    said = [name for name in ACTIONS if chosen[name]]
    if len(said) != 1:
        wanted = "one of --model (deploys it), --rollback, --status, --logs, --restart, --stop and --remove"
        raise click.UsageError(f"{_flags(said)} do not go together: say {wanted}." if said else f"say {wanted}.")
    given = [name for name in chosen if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    foreign = [name for name in given if name not in _ALWAYS and said[0] not in _BELONGS.get(name, ("model",))]
    if foreign:
        options = {param.name: param.opts[0] for param in ctx.command.params}
        raise click.UsageError(f"--{said[0]} takes no {', '.join(options[name] for name in foreign)}.")
    if chosen["every"] and "name" in given:
        raise click.UsageError("--all says it of every name: leave --name out.")
    return said[0]


def _flags(names: list[str]) -> str:
    return " and ".join(f"--{name}" for name in names)
