"""Verification: is every file still what its manifest says, and every manifest what was written?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pillm.artifacts import sha256_file
from pillm.cards.beside import SUMS, read_sums
from pillm.errors import DataError
from pillm.intake.door import check_model_file, faults_of
from pillm.intake.faults import Fault
from pillm.intake.inspection import is_read
from pillm.performance.history import History
from pillm.records import JSONObject
from pillm.store import MANIFEST, made_by, read_manifest, unlisted

WHOLE = ("split", "train", "export", "bench")
"""Stages whose folder holds nothing but what their manifest lists."""
BENCH_HISTORY = "bench/history.jsonl"
"""Every measurement of a run's files, of those before the last training too."""
TRACES = ("answers.sqlite", "events.jsonl")
"""Files by which labelling and a run know their own folder without a manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A file that is not what its manifest says, or a manifest that is not what was written."""

    path: Path
    reason: str
    away: Path | None = None
    """The folder to move away: its manifest names no maker any more, so no stage replaces it."""


def verify(path: Path | str) -> list[Problem]:
    """Recompute every manifest below a run or stage folder, or the one that lists a file; return what does not hold.

    Files that were passed on without one are held against the `SHA256SUMS` beside them. Raises DataError where there is
    nothing to verify, and of a model file that nothing lists what `check_model_file` raises.
    """
    path = Path(path)
    if path.is_file():
        return _check_file(path)
    manifests = sorted(path.rglob(MANIFEST), key=lambda file: (len(file.parts), file)) if path.is_dir() else []
    if not manifests:
        sums = read_sums(path)
        if not sums:
            raise DataError(f"{path} holds no {MANIFEST} and no {SUMS}: no finished run or stage is there, nor what one made.")
        return list(_changed(path, _entries(sums)))
    problems = [Problem(path=path / MANIFEST, reason="is missing: the run did not finish")] if _unfinished(path) else []
    for file in manifests:
        if not any(part.startswith(".") for part in file.relative_to(path).parts[:-1]):  # a working folder: not a result
            problems += _check_folder(file.parent)
    problems += _check_history(path / BENCH_HISTORY)
    # a run's manifest lists those of its stages, which come later and know more of themselves
    return list({problem.path: problem for problem in problems}.values())


def _check_file(path: Path) -> list[Problem]:
    folder = next((parent for parent in path.resolve().parents if (parent / MANIFEST).is_file()), None)
    if folder is None:
        return _check_received(path)
    manifest = read_manifest(folder)
    if manifest is None:
        return [_damaged(folder)]
    name = path.resolve().relative_to(folder).as_posix()
    if name == MANIFEST:
        return []
    if name not in manifest["files"]:
        raise DataError(f"{path} is not listed in {folder / MANIFEST}.")
    return list(_changed(folder, {name: manifest["files"][name]}))


def _check_received(path: Path) -> list[Problem]:
    """Hold a file that was passed on against the sums that came with it."""
    sums = read_sums(path.absolute().parent)  # not where a link of a cache leads
    if path.name in sums:
        return list(_changed(path.parent, _entries({path.name: sums[path.name]})))
    sound = ""
    if path.suffix == ".gguf":
        check_model_file(path)
        sound = "Its header is sound, but "
    raise DataError(
        f"{path}: {sound}no {MANIFEST} stands in its folder or above it, and no {SUMS} beside it lists it: there is nothing to "
        f"check it against. Copy its {SUMS} beside it, or name the run that made a model file: --run RUN."
    )


def _entries(sums: Mapping[str, str]) -> dict[str, JSONObject]:
    return {name: {"sha256": sha256} for name, sha256 in sums.items()}


def _check_folder(folder: Path) -> list[Problem]:
    manifest = read_manifest(folder)
    if manifest is None:
        return [_damaged(folder)]
    files = manifest["files"]
    names = unlisted(folder, files) if manifest.get("verb") in WHOLE else ()
    added = [Problem(path=folder / name, reason="was added: the manifest does not list it") for name in names]
    return [*_changed(folder, files), *added]


def _check_history(path: Path) -> Iterator[Problem]:
    """Yield the first line of a run's measurements that is not what was written; no manifest lists a file that grows."""
    for number, reason in History(path).read().damaged[:1]:
        yield Problem(path=path, reason=f"is damaged in line {number}: {reason}")


def _damaged(folder: Path) -> Problem:
    known = made_by(folder) or any((folder / trace).is_file() for trace in TRACES)
    reason = "is damaged: it is not the manifest that was written"
    return Problem(path=folder / MANIFEST, reason=reason, away=None if known else folder)


def _unfinished(path: Path) -> bool:
    return (path / "recipe.yaml").is_file() and (path / "events.jsonl").is_file() and not (path / MANIFEST).is_file()


def _changed(folder: Path, files: Mapping[str, JSONObject]) -> Iterator[Problem]:
    """Yield the files that are not what a manifest lists, and those that no library should open."""
    same: list[Path] = []
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            yield Problem(path=path, reason="is missing")
        elif sha256_file(path) != entry["sha256"]:
            yield Problem(path=path, reason="was changed: its sha256 is not the recorded one")
        elif path.suffix == ".gguf" or is_read(path.name):
            same.append(path)
    for path, said in zip(same, faults_of(same), strict=True):
        if isinstance(said, Fault):
            yield Problem(path=path, reason=f"is not sound: {said.reason}")
