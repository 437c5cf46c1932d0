"""Tasks and tables that the tests of both make."""

from __future__ import annotations

from pathlib import Path

import pillm
from pillm.records import JSONObject
from pillm.tablefile import Table
from pillm.tasks import Task, load_task, prompts_of

PLAIN = "name: t\ninput: '{{ a }}'\n"


def task_of(folder: Path, text: str) -> Task:
    """Write and load a task file."""
    (folder / "task.yaml").write_text(text, "utf-8")
    return load_task(folder / "task.yaml")


def table_of(*rows: JSONObject, columns: tuple[str, ...] | None = None) -> Table:
    """Return a table of these rows."""
    return Table(source="t", read=lambda: ((f"t:{number}", row) for number, row in enumerate(rows, 1)), columns=columns)


def made(folder: Path, text: str, *rows: JSONObject) -> list[pillm.Prompt]:
    """Return the prompts of a task and rows."""
    return list(prompts_of(task_of(folder, text), table_of(*rows)))
