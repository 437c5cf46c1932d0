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
ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What a training knows when its student is done."""

    key: str
    seed: int
    sides: Mapping[str, Sequence[Example]]
    trainer: Trainer
    teacher: JSONObject | None
    """Who answered, as `teacher_record` says it; None: whoever the rows name."""
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


def teacher_record(teacher: Teacher) -> JSONObject:
    """Return a teacher as lineages name it: its name, revision and content, and the licence that its card names."""
    identity = teacher.identity()
    content = identity.get("sha256") or identity.get("model")
    return {"use": teacher.name, **origin_record(teacher.origin()), "content": content}


def _teacher(teacher: JSONObject | None, rows: Sequence[Example]) -> JSONObject | None:
    """Return who answered: the teacher that is told, else whoever the rows name."""
    if all(row.source != "teacher" for row in rows):
        return None  # every answer came with its row
    if teacher is not None:
        return teacher
    names = sorted({row.answer.model for row in rows if row.source == "teacher" and row.answer.model})
    return {"name": ", ".join(names) or "unknown", "revision": None, "content": None, "license": None, "link": None}


def _base(trainer: Trainer) -> JSONObject | None:
    base = trainer.base_checkpoint(fetch=False)
    if base is None:
        return None
    name, _, short = (base.origin or base.label).partition("@")
    commit = base.path.name if short and base.path.name.startswith(short) else short or None
    return {**origin_record(Origin(name=name, revision=commit, folder=base.path)), "content": trainer.identity().get("base")}


def origin_record(origin: Origin) -> JSONObject:
    """Return where a model comes from, as lineages say it: never a path."""
    license_, link = license_of(origin.folder)
    name = origin.name
    if name.startswith((".", "/", "~")) or Path(name).exists():
        name = Path(name).name  # where it lies on this machine is nobody's business
    return {"name": name, "revision": origin.revision, "license": license_, "link": link}


def lineage_of_foreign(checkpoint: Checkpoint, adapter: tuple[Path, Path | None] | None) -> JSONObject:
    """Return where a model comes from that was not trained here; empty for a folder that nobody tells of.

    `adapter` are the folders of an adapter and, where it is here, of its base: the adapter names it, and both have terms.
    """
    name, _, revision = checkpoint.origin.partition("@")
    if adapter is None:
        return {"base": origin_record(Origin(name=name, revision=revision or None, folder=checkpoint.path))} if name else {}
    own, beneath = adapter
    settings = _settings_of(own)
    base = str(settings.get("base_model_name_or_path") or "")
    return {
        "base": origin_record(Origin(name=base, revision=settings.get("revision"), folder=beneath)),
        "adapter": origin_record(Origin(name=name or own.resolve().name, revision=revision or None, folder=own)),
    }


def _settings_of(adapter: Path) -> JSONObject:
    try:
        found = json.loads((adapter / ADAPTER_CONFIG).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{adapter / ADAPTER_CONFIG} is damaged ({error}). Copy it anew from where it was trained.") from error
    return found if isinstance(found, dict) else {}


def keys_of(lineage: JSONObject) -> dict[str, str]:
    """Return what the files of a model say of its making under `pillm.`, by key, without what is not known."""
    teacher, base, data = (lineage.get(name) or {} for name in ("teacher", "base", "data"))
    found = {
        "pillm.data": data.get("hash"),
        "pillm.train": lineage.get("train"),
        "pillm.seed": lineage.get("seed"),
        "pillm.teacher": teacher.get("name"),
        "pillm.teacher.revision": teacher.get("revision") or teacher.get("content"),
        "pillm.base": base.get("name"),
        "pillm.base.revision": base.get("revision") or base.get("content"),
        "pillm.versions": ", ".join(f"{name} {version}" for name, version in lineage.get("versions", {}).items()) or None,
    }
    return {name: str(value) for name, value in found.items() if value is not None}


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
