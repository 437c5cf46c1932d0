"""What an export that was interrupted had finished, so that the same command does not make it again."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pillm

LEDGER_FILE = "measured.jsonl"
"""Where a choice among quantisations keeps what it measured, in the same folder."""
_RECORD = "finished.json"


def state_of(folder: Path, *more: object) -> str:
    """Return a key of what an export is made from: a folder's files, by name, size and time, and what was told."""
    files = ((path.relative_to(folder).as_posix(), path.stat()) for path in sorted(folder.rglob("*")) if path.is_file())
    told = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]
    return hashlib.sha256(json.dumps([told, *more], sort_keys=True, default=str).encode()).hexdigest()


class Finished:
    """The record of finished files in an export's working folder; what another model or other options left is removed."""

    def __init__(self, work: Path, key: str) -> None:
        """Open the record of `key`, or begin one."""
        self.work, self._path = work, work / _RECORD
        found = self._read()
        if found.get("key") != key:
            shutil.rmtree(work, ignore_errors=True)
            found = {"key": key, "models": {}}
        self._told = found
        work.mkdir(parents=True, exist_ok=True)
        self._write()

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text("utf-8"))
            return found if isinstance(found["models"], dict) else {}
        except (OSError, ValueError, TypeError, LookupError):
            return {}

    def model(self, target: Path, quant: str) -> pillm.ModelFile | None:
        """Return a finished file, or None where it was not made, or is not what was recorded."""
        told = self._told["models"].get(quant)
        if not told or not target.is_file() or target.stat().st_size != told["bytes"]:
            return None
        return _rebuilt(told, target) if pillm.sha256_file(target) == told["sha256"] else None

    def add(self, model: pillm.ModelFile) -> None:
        """Record a file that has its final name."""
        self._told["models"][model.quant] = {name: value for name, value in asdict(model).items() if name != "path"}
        self._write()

    def give_up(self) -> None:
        """Leave only what was written down of finished files and of measurements: the room is wanted for something else."""
        ledger = self.work / LEDGER_FILE
        measured = ledger.read_bytes() if ledger.is_file() else b""
        shutil.rmtree(self.work, ignore_errors=True)
        if self._told["models"] or measured:
            self.work.mkdir(parents=True, exist_ok=True)
            self._write()
        if measured:
            ledger.write_bytes(measured)

    def _write(self) -> None:
        part = self._path.with_name(_RECORD + ".part")
        part.write_text(json.dumps(self._told), "utf-8")
        part.replace(self._path)


def _rebuilt(told: dict[str, Any], path: Path) -> pillm.ModelFile:
    """Return a file's record with the records inside it, whatever proofs it carries."""
    made = dict(told)
    for name, hint in get_type_hints(pillm.ModelFile).items():
        kinds = [kind for kind in get_args(hint) if isinstance(kind, type) and is_dataclass(kind)]
        if kinds and isinstance(made.get(name), dict):
            made[name] = kinds[0](**made[name])
    return pillm.ModelFile(**made, path=path)
