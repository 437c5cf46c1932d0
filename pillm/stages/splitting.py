"""Split rows into train, validation, calibration and test, whole groups to one side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pillm.errors import ConfigError, DataError
from pillm.records import Prompt, with_split

SPLITS = ("test", "validation", "calibration", "train")


def split(
    prompts: Iterable[Prompt], *, test: int = 0, validation: int = 0, calibration: int = 0, by: str = "group", seed: int = 0
) -> dict[str, list[Prompt]]:
    """Return the rows of each split, each row marked with its split; asked sizes are least sizes in rows.

    Rows that arrive with a split keep it and count towards its size. Whole groups (`by` "group", or "id" for single
    rows) go to one side, in an order that depends on the seed and the group's name alone, so that adding rows moves
    none. Raises DataError where too few rows are left to train on, or where a given split cuts through a group.
    """
    if by not in ("group", "id"):
        raise ConfigError(f"split by {by!r} is unknown; use 'group' or 'id'.")
    wanted = {"test": test, "validation": validation, "calibration": calibration}
    groups = _groups(prompts, by)
    sides: dict[str, list[Prompt]] = {name: [] for name in SPLITS}
    free: list[list[Prompt]] = []
    for name, rows in groups.items():
        given = {row.split for row in rows if row.split}
        if len(given) > 1:
            raise DataError(f"group {name!r} is in the splits {', '.join(sorted(given))}; a group belongs to one side.")
        side = given.pop() if given else None
        if side is None:
            free.append(rows)
        elif side in sides:
            sides[side] += rows
        else:
            raise DataError(f"{rows[0].where or rows[0].id}: split {side!r} is unknown; use {', '.join(SPLITS)}.")
    free.sort(key=lambda rows: _order(rows[0], by, seed))
    for rows in free:
        side = next((name for name, size in wanted.items() if len(sides[name]) < size), "train")
        sides[side] += rows
    _check(sides, wanted)
    return {name: [with_split(row, name) for row in rows] for name, rows in sides.items()}


def _groups(prompts: Iterable[Prompt], by: str) -> dict[str, list[Prompt]]:
    groups: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault(_name(prompt, by), []).append(prompt)
    return groups


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
