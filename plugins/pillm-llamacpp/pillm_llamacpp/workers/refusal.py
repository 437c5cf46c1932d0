"""Why a worker process cannot do what it was asked."""

from __future__ import annotations


class Refusal(Exception):
    """A sentence for the person, and the kind of error that it becomes on pillm's side of the pipe."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def too_long(tokens: int, context: int) -> str:
    """Return why a text has no vector, and what to do."""
    return (
        f"a text of {tokens} tokens is longer than the context of {context}. Shorten it or leave it out, or, where the model "
        "was trained on longer ones, give more: -o context=N"
    )
