"""`pillm plugins`: what was found, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict

import click

from pillm.cli.catalogue import clashes, failures
from pillm.cli.terminal import Terminal, cli_command
from pillm.plugins import PluginStatus, registry


@cli_command("plugins")
@click.pass_obj
def command(terminal: Terminal, /) -> None:
    """List the plugins, what each answers, and those that are broken, slow or claim a taken name."""
    from rich.table import Table

    statuses = registry().statuses
    twice, failing = clashes(), failures()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("plugin", "distribution", "version", "import"):
        table.add_column(heading, no_wrap=True)
    table.add_column("state")
    for status in statuses:
        table.add_row(
            status.name, status.distribution, status.version, f"{status.seconds:.2f} s", state(status, failing.get(status.name))
        )
    notes = [f"{kind} {name!r} is claimed by {' and '.join(who)}: write {who[0]}:{name}" for kind, name, who in twice]
    document = {
        "plugins": [{**asdict(status), "error": status.error or failing.get(status.name)} for status in statuses],
        "clashes": [{"kind": kind, "name": name, "distributions": who} for kind, name, who in twice],
    }
    terminal.result(document, table, *notes)


def state(status: PluginStatus, failing: str | None) -> str:
    """Return what a plugin answers, or what is wrong with it."""
    if status.error or failing:
        return f"broken, skipped: {status.error or failing}"
    answers = ", ".join(hook.removeprefix("pillm_") for hook in status.hooks) or "answers nothing"
    return f"{answers}; {status.warning}" if status.warning else answers
