"""`pillm doctor`: does what is installed work, and what is missing?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pillm.cli.checkup import Finding, checks
from pillm.cli.terminal import Terminal, cli_command

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {"ok": "green", "note": "yellow", "missing": "red", "broken": "red"}


@cli_command("doctor")
@click.pass_context
def command(ctx: click.Context, /) -> None:
    """Check Python, the plugins and what they need, this machine and its disk. Exit 4 where something needed is missing."""
    terminal: Terminal = ctx.obj
    findings = list(checks())
    wrong = [found for found in findings if found.state in ("missing", "broken")]
    document = {"healthy": not wrong, "checks": [found.to_json() for found in findings]}
    said = f"Checks that need care: {len(wrong)} of {len(findings)}." if wrong else "Everything that is installed works."
    terminal.result(document, _table(findings), "", said)
    if wrong:
        ctx.exit(4)


def _table(findings: list[Finding]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("check", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("what was found")
    for found in findings:
        text = f"{found.detail}\n  -> {found.remedy}" if found.remedy else found.detail
        table.add_row(found.name, Text(found.state, style=COLOURS[found.state]), text)
    return table
