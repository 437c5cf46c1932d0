"""Check files from outside: ask the limited child, remember what passed, and say what did not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from pillm.errors import DataError, PillmError, UnsafeError
from pillm.intake import asking
from pillm.intake.chattemplates import MEGABYTES, SECONDS
from pillm.intake.faults import Fault
from pillm.intake.inspection import INSIDE, MAX_JSON, is_read

SPECIALS: Final = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
"""Special tokens for a template that is tried without its tokenizer."""
FIRST_PART = "-00001-of-"
_HEAD = 64 * 2**20
"""Bytes that the head of a GGUF file with a large vocabulary takes."""

_Stamp: TypeAlias = tuple[Any, ...]
_looked_at: dict[_Stamp, dict[str, Any]] = {}
_tried: dict[str, Fault | None] = {}


def check_model_file(path: Path | str) -> tuple[str, ...]:
    """Look at a GGUF, safetensors, tokenizer or configuration file before any library opens it; return what is worth knowing.

    Raises UnsafeError where it breaks a limit or contradicts itself, DataError where it is cut off, absent or of another
    kind; both name the file, the byte where it stands and what to do. A file that is still the same is not looked at twice.
    """
    return check_model_files([path])[0]


def check_model_files(paths: Sequence[Path | str]) -> list[tuple[str, ...]]:
    """Look at several files in one child; raise what `check_model_file` raises for the first that is refused."""
    found = faults_of(paths)
    for path, said in zip(paths, found, strict=True):
        if isinstance(said, Fault):
            raise error_of(Path(path).with_name(said.name) if said.name else Path(path), said)
    return [said for said in found if not isinstance(said, Fault)]


def faults_of(paths: Sequence[Path | str]) -> list[tuple[str, ...] | Fault]:
    """Return for each file why it is refused, or what is worth knowing of it."""
    places = [Path(path).absolute() for path in paths]
    stamps = [_stamp(place) for place in places]
    new = {stamp: place for stamp, place in zip(stamps, places, strict=True) if stamp not in _looked_at}
    if new:
        sizes = [_size(place) for place in new.values()]
        largest = asking.Size(max(one.read for one in sizes), max(one.json for one in sizes))
        _looked_at.update(zip(new, asking.look(list(new.values()), largest), strict=True))
    return [_verdict(_looked_at[stamp]) for stamp in stamps]


def check_model_folder(folder: Path | str) -> tuple[str, ...]:
    """Look at all that libraries open of a model folder, an adapter's too; return what is worth knowing.

    Raises what `check_model_file` raises, also where a link leads to what is no file of a model, an index names a place
    elsewhere, or weights and configuration contradict each other.
    """
    place = Path(folder).absolute()
    if not place.is_dir():
        raise DataError(f"{folder} is not a folder. Give a model folder with config.json and *.safetensors.")
    parts = [part for part in (place, *(place / name for name in INSIDE)) if part.is_dir()]
    try:
        listing = sorted(one for part in parts for one in part.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}. Mend its permissions.") from error
    stamp = (str(place), *(_stamp(one) for one in listing))
    if stamp not in _looked_at:
        sizes = [_size(one) for one in listing if is_read(one.name)]
        total = asking.Size(sum(one.read for one in sizes), sum(one.json for one in sizes))
        _looked_at[stamp] = asking.look([place], total, folders=True)[0]
    said = _verdict(_looked_at[stamp])
    if isinstance(said, Fault):
        raise error_of(place / said.name if said.name else place, said)
    return said


def check_chat_template(source: str, where: str, specials: Mapping[str, str] | None = None) -> None:
    """Render a chat template once in a child with a second and 256 MiB, before any process of ours renders it.

    Raises UnsafeError where it reaches out, takes longer or more, and DataError where it is no template; `where` names it.
    A template that passed is trusted, by its hash, for as long as this process lives.
    """
    fault = _try(source, specials)
    if fault is not None:
        raise error_of(where, fault)


def template_hash(source: str) -> str:
    """Return the sha256 that a chat template is known by."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def error_of(where: Path | str, fault: Fault) -> PillmError:
    """Return the error that a fault is told as."""
    reason = fault.reason.rstrip(".") + (f" (byte {fault.at})" if fault.at is not None else "")
    if fault.broken:
        return DataError(f"{where}: {reason}. Nothing was opened. Download it or export it again.")
    return UnsafeError(
        f"{where}: {reason}. It was refused before any library opened it. Get it from a source that you trust, "
        "or make it again from the model that it came from."
    )


def _verdict(said: dict[str, Any]) -> tuple[str, ...] | Fault:
    if "fault" in said:
        return Fault.from_json(said["fault"])
    for template in said["templates"]:
        fault = _try(template, None)
        if fault is not None:
            return fault
    return tuple(said["notes"])


def _try(source: str, specials: Mapping[str, str] | None) -> Fault | None:
    known = template_hash(source)
    if known not in _tried:
        given = {name: text for name, text in (specials or {}).items() if isinstance(text, str)}
        _tried[known] = asking.try_template(source, {**SPECIALS, **given}, seconds=SECONDS, megabytes=MEGABYTES)
    return _tried[known]


def _stamp(path: Path) -> _Stamp:
    """Return what a file is known by: a changed one has another size, time or place on the disk; so have its other parts."""
    if FIRST_PART in path.name:
        stem = path.name.partition(FIRST_PART)[0]
        others = sorted(one for one in path.parent.glob("*.gguf") if one.name.startswith(f"{stem}-") and one != path)
        return (_stamp_of(path), *map(_stamp_of, others))
    return _stamp_of(path)


def _stamp_of(path: Path) -> _Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116 - one call
    except (OSError, ValueError) as error:
        return (str(path), str(error))
    return (str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode)


def _size(path: Path) -> asking.Size:
    """Return how much of a file may have to be read."""
    try:
        size = path.stat().st_size
    except OSError:
        return asking.Size()
    if path.suffix == ".json":
        return asking.Size(min(size, MAX_JSON), min(size, MAX_JSON))
    return asking.Size(min(size, _HEAD) if path.suffix == ".gguf" else 0)
