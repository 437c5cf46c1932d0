"""What a training's processes say to the one that started them: events, results and errors, in files of one folder.

Files and not pipes: `accelerate` and torch's launcher stand between them, and write to standard output themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pillm

_EVENTS, _RESULT = "events.jsonl", "result.json"


def event_writer(folder: Path) -> pillm.Progress:
    """Return a progress whose events `Relay` hands on."""

    def write(event: pillm.Event) -> None:
        with (folder / _EVENTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")

    return pillm.Progress("train", (write,))


class Relay:
    """Hands the events of other processes on to a progress."""

    def __init__(self, folder: Path, progress: pillm.Progress) -> None:
        self._path, self._progress = folder / _EVENTS, progress
        self._read, self._done = 0, 0

    def catch_up(self) -> None:
        """Hand on what was written since the last call."""
        for event in self._new():
            kind, message = event["kind"], event["message"]
            if kind == "start":
                self._done = 0
                self._progress.start(event["total"], event["unit"], message)
            elif kind == "advance":
                self._progress.advance(event["done"] - self._done, **event["figures"])
                self._done = event["done"]
            elif kind == "note":
                self._progress.note(message)
            elif kind == "warning":
                self._progress.warn(message)

    def _new(self) -> Iterator[dict[str, Any]]:
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # its end is still to come
                self._read += len(line)
                yield json.loads(line)


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Say what came of the training."""
    part = folder / f"{_RESULT}.part"
    part.write_text(json.dumps(result, ensure_ascii=False), "utf-8")
    part.replace(folder / _RESULT)


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return what came of the training; None where nothing did."""
    path = folder / _RESULT
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def write_error(folder: Path, rank: int, error: pillm.PillmError) -> None:
    """Say why a process cannot go on."""
    said = {"kind": type(error).__name__, "message": str(error)}
    (folder / f"error-{rank}.json").write_text(json.dumps(said, ensure_ascii=False), "utf-8")


def read_error(folder: Path) -> pillm.PillmError | None:
    """Return the error of the first process that gave one, of the kind that it was."""
    paths = sorted(folder.glob("error-*.json"), key=lambda path: int(path.stem.partition("-")[2]))
    for path in paths:
        said = json.loads(path.read_text("utf-8"))
        kind = getattr(pillm, said["kind"], pillm.BackendError)
        return kind(said["message"]) if issubclass(kind, pillm.PillmError) else pillm.BackendError(said["message"])
    return None
