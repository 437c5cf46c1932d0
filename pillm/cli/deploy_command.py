"""`pillm deploy`: put a model to work on boards, look after it there, and go back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

import pillm
from pillm.artifacts import to_json
from pillm.cli.choices import new_file, readable
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import PillmError

if TYPE_CHECKING:
    from rich.table import Table

    from pillm.backends import Runner
    from pillm.deployment.place import Service
    from pillm.records import JSONObject
    from pillm.remote import Remote

_COLUMNS = ("host", "state", "model", "release", "address", "before", "seconds")


@cli_command("deploy")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.option("--model", type=readable(), help="A run, or a GGUF file.")
@click.option("--rollback", "doing", flag_value="rollback", help="Let the release before the current one answer again.")
@click.option("--status", "doing", flag_value="status", help="Say how it stands there, and change nothing.")
@click.option("--logs", "doing", flag_value="logs", help="Print the end of the server's log.")
@click.option("-n", "lines", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Lines of the log.")
@click.option("--dry-run", is_flag=True, help="Look at the boards and say what would be done.")
@click.option("--name", default="default", show_default=True, help="Several models on one board have several names.")
@click.option("--port", type=click.IntRange(1024, 65535), help="Port on 127.0.0.1 there; 8080 unless it has one already.")
@click.option("--server", default="llama-server", show_default=True, help="The llama-server there: a name or a path.")
@click.option("--context", type=click.IntRange(64), default=2048, show_default=True, help="Tokens of prompt and answer.")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads; by default one a core, at most 4.")
@click.option("--wait", type=click.FloatRange(1), default=180.0, show_default=True, help="Seconds until it must be ready.")
@click.option("--smoke", metavar="PROMPT", help="Ask this before it takes the place, not rows of the run; `any`: a greeting.")
@click.option("--smoke-answer", metavar="TEXT", help="How the answer to --smoke must begin; else any answer will do.")
@click.option("--api-key-file", type=readable(dir_okay=False), help="Keys that callers must show, one a line; else as it was.")
@click.option("--constrained", is_flag=True, help="Hold every answer to the JSON Schema that the run's rows share.")
@click.option("--known-hosts", type=new_file(), help="File of the only keys to trust; else pillm's own, then your ssh's.")
@click.option("--accept-host-key", "accepted", multiple=True, metavar="SHA256:...", help="An unknown host's key to trust.")
@click.option("--ssh-config", type=readable(dir_okay=False), help="A configuration that ssh reads instead of yours.")
@click.pass_context
def command(ctx: click.Context, /, hosts: tuple[str, ...], doing: str | None, **chosen: Any) -> None:
    """Bring --model to each HOST beside what answers there, try it, and let it take the place without a gap.

    A model that does not start, is not healthy or fails its smoke test never takes the place. Several hosts are done one after
    the other; one that fails does not stop the others, and its exit code is the command's. --json prints a list of one
    object for each HOST.
    """
    terminal: Terminal = ctx.obj
    if (doing is None) == (chosen["model"] is None):
        raise click.UsageError("say --model to deploy one, or one of --rollback, --status and --logs.")
    work, service = _work(terminal, doing, chosen), _service(chosen)
    rows: list[JSONObject] = []
    failures: list[PillmError] = []
    for host in hosts:
        try:
            with _remote(host, chosen) as remote:
                rows.append(work(remote, service))
        except PillmError as error:
            failures.append(error)
            told = {"kind": type(error).__name__, "error": str(error), "exit_code": error.exit_code}
            rows.append({"host": host, "state": "failed", **told})
            click.echo(f"Error: {error}", err=True)
    shown: list[Any] = [row["log"] for row in rows if "log" in row] if doing == "logs" else [_table(rows)]
    terminal.result(rows, *(shown if len(failures) < len(hosts) else ()))
    if failures:
        ctx.exit(failures[0].exit_code)


def _remote(host: str, chosen: dict[str, Any]) -> Remote:
    options = {name: chosen[name] for name in ("ssh_config", "known_hosts", "accepted")}
    return pillm.Remote(host, **options)


def _service(chosen: dict[str, Any]) -> Service:
    names = ("name", "port", "server", "context", "threads", "wait", "api_key_file")
    return pillm.Service(**{name: chosen[name] for name in names})


def _work(terminal: Terminal, doing: str | None, chosen: dict[str, Any]) -> Callable[[Remote, Service], JSONObject]:
    """Return what is done with each board."""
    from pillm.deployment.deploying import deploy, roll_back
    from pillm.deployment.standing import logs_of, standing_of

    if doing == "status":
        return partial(_noted, terminal, standing_of)
    if doing == "logs":
        return lambda remote, service: {"host": remote.host, "log": logs_of(remote, service, chosen["lines"])}
    if doing == "rollback":
        return partial(_shown, terminal, roll_back)
    told = {name: chosen[name] for name in ("constrained", "smoke")}
    bundle = pillm.bundle_of(chosen["model"], _local_runner(), answer=chosen["smoke_answer"], **told)
    if not chosen["smoke"] and all(test.expected is None for test in bundle.smoke):
        terminal.say(
            "No evaluation of this file was found, nor a sure answer of it here: any answer will do as its smoke test. "
            "Deploy a run, install pillm-llamacpp, or say --smoke."
            if not bundle.constrained
            else "No answer of this file that satisfies the schema was found here: any answer will do as its smoke test."
        )
    return partial(_shown, terminal, partial(deploy, bundle, dry_run=chosen["dry_run"]))


def _shown(terminal: Terminal, work: Callable[..., Any], remote: Remote, service: Service) -> JSONObject:
    with terminal.progress("deploy") as progress:
        return _noted(terminal, lambda *given: to_json(work(*given, progress=progress)), remote, service)


def _noted(terminal: Terminal, work: Callable[[Remote, Service], JSONObject], remote: Remote, service: Service) -> JSONObject:
    done = work(remote, service)
    for note in done.get("notes", ()):
        terminal.say(f"{remote.host}: {note}")
    return done


def _local_runner() -> Runner | None:
    """Return the runner that asks the file here, where it is installed."""
    try:
        return pillm.runner("local", max_tokens=48)
    except PillmError:
        return None


def _table(rows: list[JSONObject]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        table.add_column(name, overflow="fold")
    for row in rows:
        state = row.get("state") or ("answers" if row["healthy"] else "given up" if row["given_up"] else "does not answer")
        seconds = f"{row['seconds']:.1f}" if "seconds" in row else ""
        cells = (row["host"], state, row.get("model"), row.get("release"), row.get("address"), row.get("previous"), seconds)
        table.add_row(*(str(cell or "") for cell in cells))
    return table
