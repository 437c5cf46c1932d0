"""`pillm doctor`: does what is installed work, and can a model be exported?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

import pillm
from pillm.cli.checkup import checks
from pillm.cli.choices import assignments, backend_option
from pillm.cli.targets import model_of
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import DataError, MissingDependency, UnsafeError
from pillm.examination import Finding
from pillm.models import is_remote
from pillm.plugins import registry

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {"ok": "green", "note": "yellow", "missing": "red", "broken": "red"}
PREFERRED = "gguf"


@cli_command("doctor")
@click.argument("exportable", required=False)
@backend_option("exporter", required=False, more=" the model is examined for")
@assignments("exporter")
@click.option("--quick", is_flag=True, help="Only read EXPORTABLE's files; do not try its tokenizer.")
@click.pass_context
def command(ctx: click.Context, /, exportable: str | None, exporter: str | None, options: dict[str, Any], quick: bool) -> None:
    """Check Python, the plugins and what they need, this machine and its disk; or whether EXPORTABLE can be exported.

    EXPORTABLE is a model folder, an adapter's folder, the name of a shipped model, or owner/name of a hub, which is fetched:
    what would stop its export after a training is told before it. Exit 4 where something is missing or broken.
    """
    terminal: Terminal = ctx.obj
    if exportable is None and (exporter or options or quick):
        raise click.UsageError("an exporter examines a model: name one, as in `pillm doctor MODEL --exporter gguf`.")
    findings = list(checks() if exportable is None else _examined(terminal, exportable, exporter, options, quick))
    wrong = [found for found in findings if found.wrong]
    document = {"healthy": not wrong, "checks": [found.to_json() for found in findings]}
    well = (
        "Everything that is installed works." if exportable is None else f"{exportable} can be exported, as far as can be told."
    )
    said = f"Checks that need care: {len(wrong)} of {len(findings)}." if wrong else well
    terminal.result(document, _table(findings), "", said)
    if wrong:
        ctx.exit(4)


def _examined(terminal: Terminal, text: str, name: str | None, options: dict[str, Any], quick: bool) -> Iterable[Finding]:
    exporter = pillm.exporter(name or _default(), **options)
    folder = model_of(text, terminal).path if is_remote(text) else pillm.model_folder(text)
    if folder is None or not any((folder / file).is_file() for file in ("config.json", "adapter_config.json")):
        raise DataError(
            f"{text} is neither a model folder nor an adapter's (config.json, adapter_config.json), no shipped model, and no "
            "owner/name of a hub."
        )
    try:
        notes = pillm.check_model_folder(folder)
    except (DataError, UnsafeError) as error:
        return [Finding("files", "broken", str(error))]  # nothing else reads them
    files = Finding("files", "note" if notes else "ok", "; ".join(notes) or "headers, sizes and names agree")
    found = list(exporter.examine(pillm.Checkpoint(path=folder), prove=not quick))
    if any(one.name == files.name for one in found):
        return found  # the exporter looked too
    silent = Finding(f"exporter {exporter.name}", "note", "it says nothing beforehand about what it can export")
    return [files, *(found or [silent])]


def _default() -> str:
    installed = sorted(registry().provided("exporter"))
    if not installed:
        raise MissingDependency("no exporter is installed. Get one: pip install './plugins/pillm-llamacpp[convert]'")
    return PREFERRED if PREFERRED in installed else installed[0]


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
