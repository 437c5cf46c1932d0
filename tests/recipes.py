"""A recipe of fake backends with its rows, which the tests of the pipeline run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pillm.pipeline import RunResult, run
from pillm.progress import Event, Progress
from pillm.recipe import load_recipe
from pillm.testing import FAKES, installed_plugin

RECIPE = """
prompts: rows.jsonl
seed: 1
split: {test: 4, validation: 2, calibration: 2}
teacher: {use: echo}
trainer: {use: table}
exporter: {use: table, quants: [F16, Q8_0]}
runner: {use: table}
checkpoint_runner: {use: table}
evaluate: {metrics: [exact, shortness], sets: {handwritten: handwritten.jsonl}}
bench: {pp: 8, tg: 8, repetitions: 1}
gates: {exact: 0.0}
"""


@contextmanager
def laid_out(tmp_path: Path) -> Iterator[None]:
    """Write a recipe and its rows into a folder, and install the fake backends."""
    rows = [
        {"id": f"r{i}", "user": f"say {i // 2}", "group": f"g{i // 2}", "reference": {"content": f"say {i // 2}"}}
        for i in range(24)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "handwritten.jsonl").write_text(
        json.dumps({"id": "h1", "user": "say 0 again", "reference": {"content": "x"}}) + "\n"
    )
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "board.yaml").write_text("extends: pi4-4gb\n")
    with installed_plugin(tmp_path / "site", "fakes", FAKES):
        yield


def go(tmp_path: Path, *overrides: str, readers: tuple[object, ...] = ()) -> RunResult:
    return run(load_recipe(tmp_path / "recipe.yaml", overrides), tmp_path / "run", progress=Progress("", readers))  # type: ignore[arg-type]


def states(events: list[Event]) -> dict[str, str]:
    """Return how each stage ended: finish or up-to-date."""
    return {event.stage: event.kind for event in events if event.kind in ("finish", "up-to-date")}
