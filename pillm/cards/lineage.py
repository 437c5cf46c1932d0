"""`lineage.json`: what a checkpoint was made from, written by `train` beside it and carried into every file made of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pillm.artifacts import Checkpoint
from pillm.backends import Teacher, Trainer
from pillm.errors import DataError
from pillm.files import write_json
from pillm.origins import Origin, license_of
from pillm.provenance import made_with
from pillm.records import Example, JSONObject, digest

LINEAGE_FILE = "lineage.json"
LINEAGE_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What a training knows when its student is done."""

    key: str
    seed: int
    sides: Mapping[str, Sequence[Example]]
    trainer: Trainer
    teacher: Teacher | None
    contract: str
    """The hash of the prompt contract that the trainer wrote."""


def data_hash(sides: Mapping[str, Iterable[Example]]) -> str:
    """Return the sha256 of rows by side: their messages, answers, tools and worse answers, in whatever order they stand."""
    return digest({side: sorted(_row(row) for row in rows) for side, rows in sides.items()})


def _row(row: Example) -> str:
    worse = [row.rejected.message] if row.rejected else []
    return digest([list(row.messages), list(row.prompt.tools), *worse])


def write_lineage(folder: Path, making: Making) -> None:
    """Write `lineage.json` into a folder; raise StorageError where that fails."""
    write_json(folder / LINEAGE_FILE, lineage_of(making))


def lineage_of(making: Making) -> JSONObject:
    """Return what a student was made from, as plain JSON."""
    rows = [row for side in making.sides.values() for row in side]
    schemas = {digest(row.prompt.schema): row.prompt.schema for row in rows if row.prompt.schema is not None}
    one = next(iter(schemas.values())) if len(schemas) == 1 and all(row.prompt.schema is not None for row in rows) else None
    return {
        "lineage_version": LINEAGE_VERSION,
        "train": making.key,
        "seed": making.seed,
        "contract": making.contract,
        "data": _data(making.sides, rows),
        "teacher": _teacher(making.teacher, rows),
        "base": _base(making.trainer),
        "trainer": making.trainer.name,
        "schemas": len(schemas),
        "schema": one,
        "versions": made_with([making.trainer]),
    }


def _data(sides: Mapping[str, Sequence[Example]], rows: Sequence[Example]) -> JSONObject:
    licenses: dict[str, dict[str, int]] = {}
    for row in rows:
        source = licenses.setdefault(row.prompt.source or "", {})
        source[row.prompt.license or ""] = source.get(row.prompt.license or "", 0) + 1
    return {
        "hash": data_hash(sides),
        "rows": {side: len(found) for side, found in sides.items()},
        "answers": dict(sorted(Counter(row.source for row in rows).items())),
        "sources": {source: dict(sorted(found.items())) for source, found in sorted(licenses.items())},
        "languages": dict(sorted(Counter(row.prompt.language for row in rows if row.prompt.language).items())),
    }


def _teacher(teacher: Teacher | None, rows: Sequence[Example]) -> JSONObject | None:
    """Return who answered: the teacher of the run, else whoever the rows name."""
    if all(row.source != "teacher" for row in rows):
        return None  # every answer came with its row
    if teacher is None:
        names = sorted({row.answer.model for row in rows if row.source == "teacher" and row.answer.model})
        return {"name": ", ".join(names) or "unknown", "revision": None, "content": None, "license": None, "link": None}
    identity = teacher.identity()
    content = identity.get("sha256") or identity.get("model")
    return {"use": teacher.name, **_origin(teacher.origin()), "content": content}


def _base(trainer: Trainer) -> JSONObject | None:
    base = trainer.base_checkpoint(fetch=False)
    if base is None:
        return None
    name, _, short = (base.origin or base.label).partition("@")
    commit = base.path.name if short and base.path.name.startswith(short) else short or None
    return {**_origin(Origin(name=name, revision=commit, folder=base.path)), "content": trainer.identity().get("base")}


def _origin(origin: Origin) -> JSONObject:
    license_, link = license_of(origin.folder)
    name = origin.name
    if name.startswith((".", "/", "~")) or Path(name).exists():
        name = Path(name).name  # where it lies on this machine is nobody's business
    return {"name": name, "revision": origin.revision, "license": license_, "link": link}


def read_lineage(checkpoint: Checkpoint) -> JSONObject:
    """Return what `train` wrote beside a checkpoint, empty where nobody did; raise DataError for a damaged file."""
    path = checkpoint.path / LINEAGE_FILE
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict) or found.get("lineage_version") != LINEAGE_VERSION:
            raise ValueError("it is no lineage of this version")
    except (OSError, ValueError) as error:
        remedy = "Train again, or remove it: the files then say less of themselves."
        raise DataError(f"{path} is damaged ({error}). {remedy}") from error
    return found
