"""Split rows into train, validation, calibration and test, whole groups to one side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pillm.errors import ConfigError, DataError
from pillm.records import Prompt, canonical, with_split

SPLITS = ("test", "validation", "calibration", "train")


def split(
    prompts: Iterable[Prompt], *, test: int = 0, validation: int = 0, calibration: int = 0, by: str = "group", seed: int = 0
) -> dict[str, list[Prompt]]:
    """Return the rows of each split, each row marked with its split; asked sizes are least sizes in rows.

    Rows that arrive with a split keep it and count towards its size. Whole groups (`by` "group", or "id" for single
    rows) go to one side, and so do groups that share a row's messages: nobody is tested on what was trained on. Groups
    fill one side after the other, in an order that depends on the seed and their names alone. So the order of the rows
    moves none. Added groups can push those that come after them from `test` towards `train`, never back; only a row that
    ties two groups together, by having the messages of one and the name of the other, can bring a trained group forward.
    Raises DataError where too few rows are left to train on, or where a given split cuts through what belongs together.
    """
    if by not in ("group", "id"):
        raise ConfigError(f"split by {by!r} is unknown; use 'group' or 'id'.")
    wanted = {"test": test, "validation": validation, "calibration": calibration}
    groups = _groups(prompts, by)
    sides: dict[str, list[Prompt]] = {name: [] for name in SPLITS}
    free: list[list[Prompt]] = []
    for rows in groups:
        given = {row.split for row in rows if row.split}
        if len(given) > 1:
            raise DataError(_cut(rows, by))
        side = given.pop() if given else None
        if side is None:
            free.append(rows)
        elif side in sides:
            sides[side] += rows
        else:
            raise DataError(f"{rows[0].where or rows[0].id}: split {side!r} is unknown; use {', '.join(SPLITS)}.")
    free.sort(key=lambda rows: min(_order(row, by, seed) for row in rows))
    for rows in free:
        side = next((name for name, size in wanted.items() if len(sides[name]) < size), "train")
        sides[side] += rows
    _check(sides, wanted)
    return {name: [with_split(row, name) for row in rows] for name, rows in sides.items()}


def _groups(prompts: Iterable[Prompt], by: str) -> list[list[Prompt]]:
    """Return the rows that belong together: of one group, or of groups that share a row's messages."""
    rows = list(prompts)
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        while parents.setdefault(key, key) != key:
            parents[key] = key = parents[parents[key]]
        return key

    for row in rows:
        parents[root(_said(row))] = root(f"group:{_name(row, by)}")
    found: dict[str, list[Prompt]] = {}
    for row in rows:
        found.setdefault(root(_said(row)), []).append(row)
    return list(found.values())


def _said(prompt: Prompt) -> str:
    return f"said:{canonical(list(prompt.messages))}"


def _cut(rows: list[Prompt], by: str) -> str:
    """Return how given splits cut through rows that belong together."""
    sides: dict[str, dict[str, Prompt]] = {}
    for row in rows:
        if row.split:
            sides.setdefault(_name(row, by), {})[row.split] = row
    for name, found in sides.items():
        if len(found) > 1:
            return f"group {name!r} is in the splits {', '.join(sorted(found))}; a group belongs to one side."
    first = {side: row for found in sides.values() for side, row in found.items()}
    one, other = list(first.values())[:2]
    return (
        f"rows {one.id!r} ({one.split}) and {other.id!r} ({other.split}) belong together, for they or rows of their groups "
        "have the same messages. Put them on one side, or leave one out."
    )


def _name(prompt: Prompt, by: str) -> str:
    return (prompt.group or prompt.id) if by == "group" else prompt.id


def _order(prompt: Prompt, by: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{_name(prompt, by)}".encode()).hexdigest()


def _check(sides: dict[str, list[Prompt]], wanted: dict[str, int]) -> None:
    for name, size in wanted.items():
        if len(sides[name]) < size:
            raise DataError(
                f"the rows do not suffice: split {name!r} wants {size} rows and got {len(sides[name])}. "
                "Ask for fewer, or add rows or groups."
            )
    if not sides["train"]:
        raise DataError("no rows are left to train on: test, validation and calibration took them all. Ask for fewer there.")
