"""A choice among quantisations as a table that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def choice_table(choice: Mapping[str, Any]) -> Table:
    """Return every file that was tried, small to large; those that another beats in everything are dim."""
    from rich.table import Table

    from pillm.report.choice import HEADS, cells

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, head in enumerate(HEADS):
        right = 0 < number < len(HEADS) - 1
        table.add_column(head, justify="right" if right else "left", no_wrap=number == 0)
    for trial in choice["trials"]:
        picked = trial["name"] == choice["picked"]
        style = "bold" if picked else None if trial["front"] else "dim"
        table.add_row(*cells(trial, choice["picked"]), style=style)
    return table
