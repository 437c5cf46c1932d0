"""What a search has measured so far, on disk before the next measurement begins: a killed search goes on after it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pillm_llamacpp.measuring.keeping import key_of


class Ledger:
    """Measurements by what was measured; in memory alone where no file is given."""

    def __init__(self, path: Path | None = None, state: str = "") -> None:
        """Read what is there; what another state left, or a line that a kill cut off, is passed over."""
        self._path, self._found = path, {}
        if path is None:
            return
        lines = _lines(path)
        self.resumed = bool(lines) and lines[0] == {"state": state}
        if self.resumed:
            self._found = {line["key"]: line["value"] for line in lines[1:] if {"key", "value"} <= line.keys()}
        # written anew, so that the next line does not follow a torn one
        known = [{"key": key, "value": value} for key, value in self._found.items()]
        part = path.with_name(f"{path.name}.part")
        with part.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in ({"state": state}, *known))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    resumed = False
    """Whether an earlier attempt with the same state had begun."""

    def __len__(self) -> int:
        return len(self._found)

    def get(self, *told: object) -> Any:
        """Return what was measured of this; None where it was not."""
        return self._found.get(key_of(*told))

    def add(self, value: Any, *told: object) -> Any:
        """Keep what was measured, and return it; raise OSError where the disk is full."""
        key = key_of(*told)
        self._found[key] = value
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "value": value}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return value


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a ledger, as far as they are whole."""
    found: list[dict[str, Any]] = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                read = json.loads(line) if line.endswith("\n") else None
                if not isinstance(read, dict):
                    break
                found.append(read)
    except (OSError, ValueError, RecursionError):
        pass
    return found
