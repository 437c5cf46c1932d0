"""The rows of a run: filtered, split, the sets to score, and what is refused about them before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pillm.backends import Filter
from pillm.errors import ConfigError
from pillm.recipe import Recipe
from pillm.records import Prompt, canonical
from pillm.rows import read_prompts
from pillm.stages.labelling import apply_filters
from pillm.stages.rowschemas import check_schemas
from pillm.stages.splitting import split

HELD_OUT = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRows:
    """The rows of a run by side of the split and by set to score, and what became of the others."""

    sides: dict[str, list[Prompt]]
    sets: dict[str, list[Prompt]]
    """The held-out rows first; a set without rows is left out."""
    filtered: int
    """Rows that were left out: by the filters, and of the further sets those that are trained on."""
    notes: tuple[str, ...] = ()
    """Which rows of a set are not scored, and why."""


def rows_of(recipe: Recipe) -> RunRows:
    """Return the rows of a recipe, filtered and split, and the sets that it scores.

    A row of a further set that is trained on is left out: its score would be of what was learnt by heart. Raises
    ConfigError for a gate that no held-out row could meet, DataError for a schema that could judge no answer.
    """
    rows, left_out = _kept(read_prompts(recipe.prompts, relabel=recipe.file.label.relabel), recipe.filters)
    section = recipe.file.split
    sizes = {"test": section.test, "validation": section.validation, "calibration": section.calibration}
    sides = split(rows, **sizes, by=section.by, seed=recipe.file.seed)
    whole, notes = {HELD_OUT: sides[HELD_OUT]}, []
    for name, path in recipe.sets.items():
        found, dropped = _kept(read_prompts(path), recipe.filters)
        whole[name], trained = _unseen(found, sides)
        left_out += dropped + len(trained)
        if trained:
            notes.append(
                f"{len(trained)} of {len(found)} rows of set {name!r} are trained on and not scored: {_first(trained)}."
            )
    limit = recipe.file.evaluate.max_rows
    sets = {name: found[:limit] for name, found in whole.items() if found}
    check_schemas(row for found in (*sides.values(), *sets.values()) for row in found)
    _refuse_unmet(recipe, sets.get(HELD_OUT, []))
    return RunRows(sides=sides, sets=sets, filtered=left_out, notes=(*notes, *_cut(whole, sets)))


def _kept(rows: Sequence[Prompt], filters: Sequence[Filter]) -> tuple[list[Prompt], int]:
    """Return the rows as the filters leave them, and how many they left out."""
    kept = [row for row in (apply_filters(row, filters) for row in rows) if row is not None]
    return kept, len(rows) - len(kept)


def _unseen(rows: Sequence[Prompt], sides: Mapping[str, Sequence[Prompt]]) -> tuple[list[Prompt], list[Prompt]]:
    """Part the rows of a set from those whose messages are on a training side."""
    trained = {_said(row) for side, found in sides.items() if side != HELD_OUT for row in found}
    return [row for row in rows if _said(row) not in trained], [row for row in rows if _said(row) in trained]


def _first(rows: Sequence[Prompt], most: int = 3) -> str:
    return ", ".join(row.id for row in rows[:most]) + (", ..." if len(rows) > most else "")


def _said(row: Prompt) -> str:
    return canonical(list(row.messages))


def _refuse_unmet(recipe: Recipe, held_out: Sequence[Prompt]) -> None:
    """Raise ConfigError for a gate that needs held-out rows where none are, or where its metric applies to none of them."""
    metrics = {metric.name: metric for metric in recipe.metrics}
    for gate in recipe.gates:
        metric = metrics.get(gate.figure)
        if metric is None:  # a speed or a size
            continue
        where = f"{recipe.path.name}: gates: {str(gate)!r}"
        if not held_out:
            raise ConfigError(f"{where} needs held-out rows, and there are none. Set split.test, or leave the gate out.")
        if not any(metric.applies(row) for row in held_out):
            raise ConfigError(
                f"{where}: metric {metric.name!r} applies to none of the {len(held_out)} held-out rows (json, schema and "
                "fields apply to rows with a schema). Gate another metric, or hold out rows that it applies to."
            )


def _cut(whole: Mapping[str, Sequence[Prompt]], sets: Mapping[str, Sequence[Prompt]]) -> tuple[str, ...]:
    found = ((name, len(rows), len(sets.get(name, ()))) for name, rows in whole.items())
    return tuple(
        f"{count - taken} of {count} rows of set {name!r} were not taken in: evaluate.max_rows is {taken}."
        for name, count, taken in found
        if taken < count
    )
