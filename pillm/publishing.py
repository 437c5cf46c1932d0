"""Publish a run: gather the files that others need, refuse what its card does not allow, hand them to a publisher."""

from __future__ import annotations

import json
from pathlib import Path

from pillm.artifacts import sha256_file
from pillm.cards.beside import README, SUMS, read_sums
from pillm.cards.card import CARD_FILE
from pillm.errors import ConfigError, DataError, GateError, StorageError
from pillm.hubs import Published, Publisher, Release, ReleaseFile
from pillm.progress import Progress
from pillm.records import JSONObject
from pillm.store import read_manifest
from pillm.verification import verify

ADDED = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")
"""What a person may have added after the export, beside its files or in the run's folder; it goes out with them."""
BY_HAND = (README, *ADDED)
"""What need not be as the export made it."""
AGAIN = "Make the export anew: the command that made it, `pillm run` or `pillm export`, does it; nothing is trained for it."


def prepare_release(
    run: Path | str, repository: str, *, public: bool = False, message: str | None = None, tag: str = ""
) -> Release:
    """Return what is to be published of a run, or of an export's folder: model files, card, sums; hashed, and proved whole.

    Raises DataError where nothing was exported, ConfigError where there is no card, GateError where the card says that the
    files may not be published, StorageError where a file is not what was made.
    """
    run = Path(run)
    export = next((folder for folder in (run / "export", run) if (read_manifest(folder) or {}).get("verb") == "export"), None)
    if export is None:
        raise DataError(f"{run} holds no finished export, so there is nothing to publish. Give the folder of a run.")
    _require_publishable(export)
    _require_whole(export)
    found = {name: export / name for name in (read_manifest(export) or {})["files"]}
    added = {name: place / name for place in (run, export) for name in ADDED if (place / name).is_file()}
    files = tuple(
        ReleaseFile(path=path, name=name, bytes=path.stat().st_size, sha256=sha256_file(path))
        for name, path in sorted((added | found).items())
    )
    _require_sums(files)
    said = message or f"Upload {run.resolve().name} with pillm"
    return Release(repository=repository, files=files, public=public, message=said, tag=tag)


def push(release: Release, publisher: Publisher, *, progress: Progress | None = None) -> Published:
    """Publish a release and prove that what is there is what is here.

    Raises ConfigError, Unavailable and BackendError as `Publisher.publish` does; the same call resumes.
    """
    progress = progress or Progress("push")
    done = publisher.publish(release, progress)
    progress.finish(f"{done.files} files at {done.address}, {done.sent} of them sent, every sha256 compared")
    return done


def _require_publishable(export: Path) -> None:
    card, path = _card(export)
    if card.get("publishable") is True:
        return
    reasons = card.get("reasons")
    listed = [str(reason).rstrip(".") for reason in reasons] if isinstance(reasons, list) else []
    why = "; ".join(listed) or "it gives no reason, and does not say `publishable: true`"
    raise GateError(
        f"{path} says that these files may not be published: {why}. Nothing was sent. Settle that, "
        "in the recipe or with `pillm export --terms`, and make the export anew."
    )


def _card(export: Path) -> tuple[JSONObject, Path]:
    path = export / CARD_FILE
    if not path.is_file():
        raise ConfigError(f"{export} has no {CARD_FILE}, which says under which licence its files may be published. {AGAIN}")
    try:
        card = json.loads(path.read_text("utf-8"))
        if not isinstance(card, dict):
            raise TypeError("it holds no object")
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}). {AGAIN}") from error
    return card, path


def _require_whole(export: Path) -> None:
    for problem in verify(export):
        if problem.path.name not in BY_HAND:
            raise StorageError(f"{problem.path} {problem.reason}. Nothing was sent. {AGAIN}")


def _require_sums(files: tuple[ReleaseFile, ...]) -> None:
    """Raise StorageError where SHA256SUMS lists another hash than a file has."""
    by_name = {file.name: file for file in files}
    for name, sha256 in read_sums(by_name[SUMS].path.parent).items() if SUMS in by_name else ():
        if name in by_name and by_name[name].sha256 != sha256:
            raise StorageError(f"{by_name[name].path} is not the file that {SUMS} lists. Nothing was sent. {AGAIN}")
