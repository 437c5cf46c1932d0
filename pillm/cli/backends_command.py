"""`pillm backends`: what is installed, and every option of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from pillm.cli.catalogue import card, installed
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import UnknownBackend, did_you_mean

if TYPE_CHECKING:
    from rich.table import Table

KIND_NAMES = ["teacher", "trainer", "exporter", "runner", "metric", "filter", "source", "publisher"]


@cli_command("backends")
@click.argument("name", required=False)
@click.option("--kind", type=click.Choice(KIND_NAMES), help="Only this kind.")
@click.pass_obj
def command(terminal: Terminal, /, name: str | None, kind: str | None) -> None:
    """List the installed backends, or every option of the backends called NAME."""
    cards = [card(*found) for found in installed(kind)]
    if name is None:
        terminal.result(cards, *([_list(cards)] if cards else ["No backend is installed."]))
        return
    distribution, _, bare = name.rpartition(":")
    wanted = [one for one in cards if one["name"] == bare and distribution in ("", one["distribution"], one["kind"])]
    if not wanted:
        known = {one["name"] for one in cards}
        raise UnknownBackend(
            f"no {kind or 'backend'} is called {name!r}.{did_you_mean(name, known)} Installed: {', '.join(sorted(known))}."
        )
    terminal.result(wanted, *map(_page, wanted))


def _list(cards: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("kind")
    table.add_column("name", no_wrap=True)
    table.add_column("what it does")
    table.add_column("from", no_wrap=True)
    last = ""
    for one in cards:
        shown = one["kind"] if one["kind"] != last else ""
        table.add_row(shown, one["name"], one["description"], one["distribution"])
        last = one["kind"]
    return table


def _page(one: dict[str, Any]) -> str:
    formatter = click.HelpFormatter(max_width=100)
    reads = f" It reads: {', '.join(one['reads'])}." if one.get("reads") else ""
    formatter.write_text(f"{one['kind']} {one['name']} ({one['distribution']} {one['version']}): {one['description']}{reads}")
    formatter.write_paragraph()
    if one["options"]:
        formatter.write_dl([(_head(row), f"{shown_type(row['type'])}. {meaning(row)}") for row in one["options"]], col_max=34)
    else:
        formatter.write_text("It has no options.")
    return formatter.getvalue()


def _head(row: dict[str, Any]) -> str:
    return f"{row['name']} (needed)" if row["required"] else f"{row['name']}={shown_value(row['default'])}"


def shown_type(text: str) -> str:
    """Return a type as a person says it; the choices themselves stand among the bounds."""
    plain = re.sub(r"Literal\[[^\]]*\]", "choice", text).replace("pathlib.Path", "path")
    plain = re.sub(r"(?:tuple|list|set|frozenset)\[(\w+)(?:, \.\.\.)?\]", r"list of \1", plain)
    plain = re.sub(r"dict\[[^\]]*\]", "table", plain)
    plain = re.sub(r"(?:Optional|Union)\[([^\[\]]*)\]", lambda found: found[1].replace(", ", " | "), plain)
    return " or ".join(part for part in plain.split(" | ") if part != "None")


def shown_value(value: Any) -> str:
    """Return a default as one would type it."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(map(str, value)) or "(empty)"
    return "none" if value is None else "(empty)" if value == "" else str(value)


def meaning(row: dict[str, Any]) -> str:
    """Return an option's description with its bounds, and whether a change of it re-makes results."""
    parts = [row["description"], f"({row['bounds']})" if row["bounds"] else "", "" if row["in_key"] else "[not in the key]"]
    return " ".join(part for part in parts if part)
