"""Why a worker process cannot do what it was asked."""

from __future__ import annotations


class Refusal(Exception):
    """A sentence for the person, and the kind of error that it becomes on pillm's side of the pipe."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
