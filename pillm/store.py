"""Where results live: working folders, atomic publishing and manifests.

A stage folder exists whole or not at all: a backend writes into its working folder (`.NAME.KEY/`, which survives a
kill), the result is renamed into place and its manifest is written last. No manifest means that it does not exist.
Nothing is replaced but what the same stage made: a folder that holds anything else is refused and left alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pillm.artifacts import sha256_file
from pillm.backends import Backend
from pillm.errors import ConfigError
from pillm.files import fsync_file, fsync_folder, storage_errors, write_json
from pillm.provenance import made_with
from pillm.records import JSONObject, digest

MANIFEST = "manifest.json"
MANIFEST_VERSION = 2
MAKING = "making"
"""Where in the results of a run's manifest stands what in the recipe made the files: they carry its hash."""
EXEMPT = re.compile(r"events\.jsonl|pillm\.log(\.[0-9]+)?")
"""Files that go on growing after a manifest is written: the event stream and the log, with its rotations."""

LOCK = re.compile(r"\.(.+\.)?lock")
"""Lock files: nobody misses one."""
MAKERS = ("split", "label", "train", "export", "evaluate", "bench", "run")
"""The verbs that write manifests."""
HASHED_AT_A_GLANCE = 16 * 2**20
"""Files up to so many bytes are hashed to see whether a result stands; of larger ones the size must do."""


def stage_key(verb: str, inputs: JSONObject, *backends: Backend) -> str:
    """Return the key of a stage's result: a hash of its inputs, its backends' identities and their versions."""
    return digest({
        "verb": verb,
        "inputs": inputs,
        "backends": [backend.identity() for backend in backends],
        "versions": [backend.version() for backend in backends],
    })  # fmt: skip


def read_manifest(folder: Path) -> JSONObject | None:
    """Return a folder's manifest, or None where there is none, or one that is not what was written."""
    found = _parsed(folder)
    sealed = found.pop("sha256", None)
    try:
        whole = sealed is None if found.get("manifest_version") == 1 else sealed == digest(found)  # version 1 had no seal
    except ValueError:  # NaN: no manifest says that
        return None
    return found if whole and _lists_files(found) else None


def _parsed(folder: Path) -> JSONObject:
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lists_files(manifest: JSONObject) -> bool:
    files = manifest.get("files")
    return isinstance(files, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and isinstance(entry.get("bytes"), int)
        for entry in files.values()
    )


def made_by(folder: Path) -> str | None:
    """Return the verb that a folder's manifest names as its maker, damaged elsewhere or not; None where it names none."""
    verb = _parsed(folder).get("verb")
    return verb if verb in MAKERS else None


def is_current(folder: Path, key: str) -> bool:
    """Say whether a folder holds the finished result of that key, every file as its manifest records it.

    A result that was finished when a kill came just before its renaming is put in place first.
    """
    work = work_path(folder, key)
    if work.is_dir() and _holds(work, key):
        put_in_place(work, folder)
    return _holds(folder, key)


def _holds(folder: Path, key: str) -> bool:
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("key") != key:
        return False
    return all(_stands(folder / name, entry) for name, entry in manifest["files"].items())


def _stands(path: Path, entry: JSONObject) -> bool:
    try:
        size = path.stat().st_size
        return bool(size == entry["bytes"] and (size > HASHED_AT_A_GLANCE or sha256_file(path) == entry["sha256"]))
    except OSError:
        return False


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
    names = [name for name in names if name != MANIFEST and not exempt(name)]
    with storage_errors(folder):
        entries = {name: entry_of(folder / name) for name in names}
    manifest: JSONObject = {
        "manifest_version": MANIFEST_VERSION,
        "verb": lineage.verb,
        "key": lineage.key,
        "parents": lineage.parents,
        "backends": [recorded(backend) for backend in lineage.backends],
        "seed": lineage.seed,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(lineage.seconds, 3),
        "counts": lineage.counts,
        "results": lineage.results,
        "versions": made_with(lineage.backends),
        "files": entries,
    }
    write_json(folder / MANIFEST, {**manifest, "sha256": digest(manifest)})
    return manifest


def entry_of(path: Path) -> JSONObject:
    """Return what a manifest says of a file; the file is on the disk by then."""
    fsync_file(path)
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def recorded(backend: Backend) -> JSONObject:
    """Return a backend as manifests record it: its options and its version."""
    return {**backend.options(), "version": backend.version()}


def exempt(name: str) -> bool:
    """Say whether manifests leave a file out: a hidden one, or one that goes on growing."""
    hidden = any(part.startswith(".") for part in name.split("/"))
    return hidden or EXEMPT.fullmatch(name.rpartition("/")[2]) is not None


def refuse_foreign(out: Path, verb: str, *, trace: str | None = None, beside: Collection[str] = ()) -> None:
    """Raise ConfigError where a folder holds something that `verb` did not make: it would be written over.

    `trace` is a file by which the verb knows its own folder without a manifest; the names `beside` do not matter.
    """
    names = [path.name for path in out.iterdir()] if out.exists() else []
    maker = made_by(out)
    own = maker == verb or (maker is None and trace is not None and (out / trace).is_file())
    if own or all(name in beside or _passes(name) for name in names):
        return
    said = f"holds what `{maker}` made" if maker else "was not made by pillm, or its manifest is damaged"
    raise ConfigError(f"{out} {said}; it is left alone. Choose another --out, or move it away.")


def refuse_to_replace(out: Path, verb: str) -> None:
    """Raise ConfigError where a folder is not wholly what `verb` made: what is replaced is removed."""
    refuse_foreign(out, verb)
    listed = _parsed(out).get("files")
    for name in unlisted(out, listed if isinstance(listed, dict) else ()):
        raise ConfigError(
            f"{out} holds {name}, which `{verb}` did not put there; the folder is left alone. "
            "Move that away, or choose another --out."
        )


def unlisted(folder: Path, files: Collection[str]) -> list[str]:
    """Return what a folder holds beside its manifest and the files that it lists, hidden or not; logs and locks pass."""
    paths = (path for path in sorted(folder.rglob("*")) if not path.is_dir())
    names = (path.relative_to(folder).as_posix() for path in paths if not _passes(path.name))
    return [name for name in names if name != MANIFEST and name not in files]


def _passes(name: str) -> bool:
    return bool(EXEMPT.fullmatch(name) or LOCK.fullmatch(name))


class WorkFolder:
    """A stage's working folder: `path` is where a backend writes, `publish` makes it the result."""

    def __init__(self, out: Path, verb: str, key: str) -> None:
        self.out = out
        self.verb = verb
        self.path = work_path(out, key)
        self.began = time.monotonic()

    def __enter__(self) -> WorkFolder:
        with storage_errors(self.out):
            refuse_to_replace(self.out, self.verb)
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
            put_in_place(self.path, self.out)
        return manifest


def work_path(out: Path, key: str) -> Path:
    """Return the working folder of a result: where a backend writes it, and where it is found after a kill."""
    return out.with_name(f".{out.name}.{hashlib.sha256(key.encode()).hexdigest()[:16]}")


def _remove_hidden(work: Path) -> None:
    """Remove what a backend keeps for itself: hidden files are no part of a result."""
    for path in sorted(work.rglob(".*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def put_in_place(work: Path, out: Path) -> None:
    """Rename a working folder that is finished, manifest and all, to the result's name, in place of an older result."""
    refuse_to_replace(out, str(made_by(work)))
    _remove_hidden(work)
    aside = work.with_name(f"{work.name}.old")
    if out.exists():
        for path in [path for path in out.iterdir() if EXEMPT.fullmatch(path.name)]:
            path.rename(work / path.name)  # a log that is kept in the folder goes on
        shutil.rmtree(aside, ignore_errors=True)  # left by a kill, after the result it had made place for was there
        out.rename(aside)
    work.rename(out)
    fsync_folder(out.parent)
    ours = re.compile(re.escape(f".{out.name}.") + r"[0-9a-f]{16}(\.old)?")
    for left in out.parent.iterdir():  # what this stage was before, and attempts with other options
        if ours.fullmatch(left.name) and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
