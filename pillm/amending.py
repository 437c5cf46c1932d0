"""Write some files of a finished result anew: it takes the old one's place as a whole, and its large files are not copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pillm.errors import ConfigError
from pillm.files import storage_errors, write_json
from pillm.records import digest
from pillm.store import MANIFEST, entry_of, exempt, put_in_place, read_manifest, refuse_to_replace, work_path


@contextmanager
def amend(out: Path, verb: str) -> Iterator[Path]:
    """Give a folder with the files of a finished result; those that are replaced there are the result's when the context ends.

    A file must be replaced and never written into: it is the old one under another name. What made the result, and when,
    stays as its manifest says. A kill leaves the old result or the new one. Raises ConfigError where `out` is not wholly
    what `verb` made.
    """
    manifest = read_manifest(out)
    if manifest is None:
        raise ConfigError(f"{out} holds no finished result of {verb!r}; nothing was changed.")
    with storage_errors(out):
        refuse_to_replace(out, verb)
        work = work_path(out, manifest["key"])
        shutil.rmtree(work, ignore_errors=True)  # left by a kill
        for name in manifest["files"]:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            _link(out / name, work / name)
        yield work
        names = sorted(path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file())
        known = manifest["files"]
        entries = {
            name: known[name] if name in known and _same(out / name, work / name) else entry_of(work / name)
            for name in names
            if not exempt(name)
        }
        made = {**manifest, "files": entries}
        write_json(work / MANIFEST, {**made, "sha256": digest(made)})
        put_in_place(work, out)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.samefile(other)
