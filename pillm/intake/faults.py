"""What is wrong with a file that came from outside."""

from __future__ import annotations

from typing import Any


class Fault(Exception):
    """A reason to refuse a file, the byte where it stands, and whether the file is merely broken or could do harm."""

    def __init__(self, reason: str, at: int | None = None, *, broken: bool = False, name: str = "") -> None:
        super().__init__(reason)
        self.reason, self.at, self.broken = reason, at, broken
        self.name = name
        """The file within a folder; empty for the one that was asked about."""

    def to_json(self) -> dict[str, Any]:
        """Return the fault as plain JSON."""
        return {"reason": self.reason, "at": self.at, "broken": self.broken, "name": self.name}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Fault:
        """Return the fault of `to_json`."""
        return cls(str(said["reason"]), said["at"], broken=bool(said["broken"]), name=str(said["name"]))


def shown(text: object, most: int = 80) -> str:
    """Return a text from outside as it may stand in a message: escaped and short."""
    kept = repr(text)
    return kept if len(kept) <= most else kept[: most - 3] + "..."
