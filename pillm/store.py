"""Where results live: working folders, atomic publishing, manifests, and their verification.

A stage folder exists whole or not at all: a backend writes into its working folder (`.NAME.KEY/`, which survives a
kill), the result is renamed into place and its manifest is written last. No manifest means that it does not exist.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pillm.artifacts import sha256_file
from pillm.backends import Backend
from pillm.errors import DataError
from pillm.files import fsync_file, fsync_folder, storage_errors, write_json
from pillm.provenance import made_with
from pillm.records import JSONObject, digest

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
EXEMPT = re.compile(r"events\.jsonl|pillm\.log(\.[0-9]+)?")
"""Files that go on growing after a manifest is written: the event stream and the log, with its rotations."""


WHOLE = ("train", "export", "bench")
"""Stages whose folder holds nothing but what their manifest lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A file that is not what its manifest says."""

    path: Path
    reason: str


def stage_key(verb: str, inputs: JSONObject, *backends: Backend) -> str:
    """Return the key of a stage's result: a hash of its inputs, its backends' identities and their versions."""
    return digest({
        "verb": verb,
        "inputs": inputs,
        "backends": [backend.identity() for backend in backends],
        "versions": [backend.version() for backend in backends],
    })  # fmt: skip


def read_manifest(folder: Path) -> JSONObject | None:
    """Return a folder's manifest, or None where there is no readable one."""
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("files"), dict) else None


def is_current(folder: Path, key: str) -> bool:
    """Say whether a folder holds the finished result of that key, every file of its manifest at its recorded size.

    A result that was finished when a kill came just before its renaming is put in place first.
    """
    work = _work_path(folder, key)
    if work.is_dir() and _holds(work, key):
        _put_in_place(work, folder)
    return _holds(folder, key)


def _holds(folder: Path, key: str) -> bool:
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("key") != key:
        return False
    return all(_size(folder / name) == entry["bytes"] for name, entry in manifest["files"].items())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What a manifest says beside its files: parents' keys, options, counts, seconds."""

    verb: str
    key: str
    parents: dict[str, str] = field(default_factory=dict)
    backends: tuple[Backend, ...] = ()
    seed: int | None = None
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    results: JSONObject = field(default_factory=dict)


def write_manifest(folder: Path, lineage: Lineage, files: Iterable[Path] | None = None) -> JSONObject:
    """Hash a folder's files (all of them where none are named) and write its manifest, last."""
    chosen = files if files is not None else (path for path in folder.rglob("*") if path.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in chosen)
    names = [name for name in names if name != MANIFEST and not _exempt(name)]
    with storage_errors(folder):
        for name in names:
            fsync_file(folder / name)
        entries = {name: {"sha256": sha256_file(folder / name), "bytes": _size(folder / name)} for name in names}
    manifest: JSONObject = {
        "manifest_version": MANIFEST_VERSION,
        "verb": lineage.verb,
        "key": lineage.key,
        "parents": lineage.parents,
        "backends": [{**backend.options(), "version": backend.version()} for backend in lineage.backends],
        "seed": lineage.seed,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(lineage.seconds, 3),
        "counts": lineage.counts,
        "results": lineage.results,
        "versions": made_with(lineage.backends),
        "files": entries,
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def _exempt(name: str) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    return hidden or EXEMPT.fullmatch(name.rpartition("/")[2]) is not None


def machine() -> dict[str, str | int | None]:
    """Return what tells machines apart as far as speed goes: name, architecture, processor and cores."""
    model = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))), "")
    return {"host": platform.node(), "architecture": platform.machine(), "processor": model, "cores": os.cpu_count()}


class WorkFolder:
    """A stage's working folder: `path` is where a backend writes, `publish` makes it the result."""

    def __init__(self, out: Path, key: str) -> None:
        self.out = out
        self.path = _work_path(out, key)
        self.began = time.monotonic()

    def __enter__(self) -> WorkFolder:
        with storage_errors(self.out):
            if self.out.exists() and read_manifest(self.out) is None and any(self.out.iterdir()):
                raise DataError(
                    f"{self.out} exists and was not made by pillm; it is left alone. Choose another --out, or move it away."
                )
            self.path.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        return None  # what an interrupted backend wrote stays, so that it can resume there

    @property
    def seconds(self) -> float:
        """Return the seconds since the folder was opened."""
        return time.monotonic() - self.began

    def publish(self, lineage: Lineage) -> JSONObject:
        """Write the manifest into the working folder, then rename the folder into place: the renaming is the commit."""
        with storage_errors(self.out):
            manifest = write_manifest(self.path, lineage)
            _put_in_place(self.path, self.out)
        return manifest


def _work_path(out: Path, key: str) -> Path:
    return out.with_name(f".{out.name}.{hashlib.sha256(key.encode()).hexdigest()[:16]}")


def _put_in_place(work: Path, out: Path) -> None:
    aside = work.with_name(f"{work.name}.old")
    if out.exists():
        out.rename(aside)
    work.rename(out)
    fsync_folder(out.parent)
    ours = re.compile(re.escape(f".{out.name}.") + r"[0-9a-f]{16}(\.old)?")
    for left in out.parent.iterdir():  # what this stage was before, and attempts with other options
        if ours.fullmatch(left.name) and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def verify(path: Path | str) -> list[Problem]:
    """Recompute every manifest below a run or stage folder, or the one that lists a file; return what does not hold.

    Raises DataError where there is nothing to verify.
    """
    path = Path(path)
    if path.is_file():
        folder = next((parent for parent in path.resolve().parents if read_manifest(parent)), None)
        if folder is None:
            raise DataError(f"{path}: no {MANIFEST} stands in its folder or above it; there is nothing to check it against.")
        name = path.resolve().relative_to(folder).as_posix()
        manifest = read_manifest(folder) or {"files": {}}
        if name not in manifest["files"]:
            raise DataError(f"{path} is not listed in {folder / MANIFEST}.")
        return _check(folder, {name: manifest["files"][name]})
    manifests = sorted(path.rglob(MANIFEST)) if path.is_dir() else []
    if not manifests:
        raise DataError(f"{path} holds no {MANIFEST}: no finished run or stage is there.")
    problems = [Problem(path=path / MANIFEST, reason="is missing: the run did not finish")] if _unfinished(path) else []
    for file in manifests:
        if any(part.startswith(".") for part in file.relative_to(path).parts[:-1]):
            continue  # a working folder: not a result
        found = read_manifest(file.parent)
        if found is None:
            problems.append(Problem(path=file, reason="is not a readable manifest"))
        else:
            problems += _check(file.parent, found["files"])
            if found.get("verb") in WHOLE:
                problems += _added(file.parent, found["files"])
    return problems


def _unfinished(path: Path) -> bool:
    return (path / "recipe.yaml").is_file() and (path / "events.jsonl").is_file() and not (path / MANIFEST).is_file()


def _added(folder: Path, files: Mapping[str, JSONObject]) -> list[Problem]:
    """Return the files of a stage that its manifest does not list."""
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    added = (name for name in names if name not in files and name != MANIFEST and not _exempt(name))
    return [Problem(path=folder / name, reason="was added: the manifest does not list it") for name in added]


def _check(folder: Path, files: Mapping[str, JSONObject]) -> list[Problem]:
    problems = []
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            problems.append(Problem(path=path, reason="is missing"))
        elif sha256_file(path) != entry["sha256"]:
            problems.append(Problem(path=path, reason="was changed: its sha256 is not the recorded one"))
    return problems
