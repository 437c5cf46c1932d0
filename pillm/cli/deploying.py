"""What `pillm deploy` does with each host, and how it tells what came of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pillm
from pillm.artifacts import to_json
from pillm.cli.terminal import Terminal
from pillm.errors import PillmError
from pillm.remote.hostkeys import own_file

if TYPE_CHECKING:
    from rich.table import Table

    from pillm.backends import Runner
    from pillm.deployment.bundle import Bundle
    from pillm.deployment.place import Service
    from pillm.records import JSONObject
    from pillm.remote import Remote

INTERRUPTED = 130
_COLUMNS = ("host", "name", "state", "model", "release", "address", "before", "seconds")


def over_hosts(terminal: Terminal, action: str, hosts: Sequence[str], chosen: dict[str, Any]) -> int:
    """Do one thing with every host, print what came of each, and return the exit code: that of the first one that failed.

    Ctrl-C ends it with what was done so far.
    """
    work, service = _work(terminal, action, chosen), _service(chosen)
    rows: list[JSONObject] = []
    codes: list[int] = []
    rest = list(hosts)
    try:
        while rest:
            done, code = _one(rest[0], work, service, chosen)
            rows += done
            codes += [code] if code else []
            rest.pop(0)
    except KeyboardInterrupt:
        codes = [INTERRUPTED]
        rows += [{"host": host, "state": "not reached" if number else "interrupted"} for number, host in enumerate(rest)]
        click.echo("Interrupted: what answered on the boards still answers; the same command resumes.", err=True)
    logs = "".join(f"==> {row['host']} <==\n{row['log']}" if len(hosts) > 1 else row["log"] for row in rows if "log" in row)
    told = any("error" not in row for row in rows)
    terminal.result(rows, *((logs if action == "logs" else _table(rows),) if told else ()))
    return codes[0] if codes else 0


def _one(
    host: str, work: Callable[[Remote, Service], list[JSONObject]], service: Service, chosen: dict[str, Any]
) -> tuple[list[JSONObject], int]:
    """Return the rows of one host, and its exit code."""
    try:
        with _known(chosen) as known, pillm.Remote(host, **known) as remote:
            done = work(remote, service)
    except PillmError as error:
        click.echo(f"Error: {error}", err=True)
        told = {"kind": type(error).__name__, "error": str(error), "exit_code": error.exit_code}
        return [{"host": host, "state": "failed", **told}], error.exit_code
    return done, int(any(row.get("healthy") is False for row in done))


@contextmanager
def _known(chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give what a Remote is made with; in a dry run an accepted key is recorded in a copy that goes."""
    options = {name: chosen[name] for name in ("ssh_config", "known_hosts", "accepted")}
    if not (chosen["dry_run"] and chosen["accepted"]):
        yield options
        return
    with tempfile.TemporaryDirectory(prefix="pillm-") as folder:
        copy, kept = Path(folder) / "known_hosts", chosen["known_hosts"] or own_file()
        if kept.is_file():
            shutil.copyfile(kept, copy)
        yield {**options, "known_hosts": copy}


def _service(chosen: dict[str, Any]) -> Service:
    names = ("name", "port", "server", "context", "threads", "temperature", "predict", "system", "defaults", "wait")
    return pillm.Service(**{name: chosen[name] for name in (*names, "api_key_file")})


def _work(terminal: Terminal, action: str, chosen: dict[str, Any]) -> Callable[[Remote, Service], list[JSONObject]]:
    """Return what is done with each board."""
    from pillm.deployment import standing, tending

    if action == "status":
        return partial(_status, terminal, every=chosen["every"])
    if action == "logs":
        return lambda remote, service: [
            {"host": remote.host, "log": standing.logs_of(remote, service, chosen["lines"], chosen["release"])}
        ]
    if action in ("restart", "stop", "remove"):
        does: Callable[[Remote, Service], JSONObject] = getattr(tending, action)
        return lambda remote, service: [does(remote, service)]
    if action == "rollback":
        return partial(_shown, terminal, partial(pillm.roll_back, dry_run=chosen["dry_run"]))
    return partial(_shown, terminal, partial(pillm.deploy, _bundle(terminal, chosen), dry_run=chosen["dry_run"]))


def _status(terminal: Terminal, remote: Remote, service: Service, *, every: bool) -> list[JSONObject]:
    from pillm.deployment.standing import names_on, standing_of

    names = names_on(remote) if every else [service.name]
    if not names:
        raise pillm.ConfigError(f"{remote.host}: nothing is deployed there.")
    rows = [standing_of(remote, pillm.Service(name=name)) for name in names]
    for row in rows:
        _say_notes(terminal, row)
    return rows


def _bundle(terminal: Terminal, chosen: dict[str, Any]) -> Bundle:
    told = {name: chosen[name] for name in ("constrained", "smoke")}
    bundle = pillm.bundle_of(chosen["model"], _local_runner(), answer=chosen["smoke_answer"], **told)
    if not chosen["smoke"] and all(test.expected is None for test in bundle.smoke):
        terminal.say(
            "No evaluation of this file was found, nor a sure answer of it here: any answer will do as its smoke test. "
            "Deploy a run, install pillm-llamacpp, or say --smoke."
            if not bundle.constrained
            else "No answer of this file that satisfies the schema was found here: any answer will do as its smoke test."
        )
    return bundle


def _shown(terminal: Terminal, work: Callable[..., Any], remote: Remote, service: Service) -> list[JSONObject]:
    with terminal.progress("deploy") as progress:
        row: JSONObject = to_json(work(remote, service, progress=progress))
    _say_notes(terminal, row)
    return [row]


def _say_notes(terminal: Terminal, row: JSONObject) -> None:
    name = "" if row.get("name") in (None, "default") else f" ({row['name']})"
    for note in row.get("notes", ()):
        terminal.say(f"{row['host']}{name}: {note}")


def _local_runner() -> Runner | None:
    """Return the runner that asks the file here, where it is installed."""
    try:
        return pillm.runner("local", max_tokens=48)
    except PillmError:
        return None


def _table(rows: list[JSONObject]) -> Table:
    from rich.table import Table

    shown = [{**row, "before": row.get("previous"), "seconds": f"{row.get('seconds') or 0:.1f}"} for row in rows]
    columns = [name for name in _COLUMNS if any(row.get(name) not in (None, "0.0") for row in shown)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in shown:
        table.add_row(*("" if row.get(name) in (None, "0.0") else str(row[name]) for name in columns))
    return table
