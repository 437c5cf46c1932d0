"""Asking a llama-server on a board, through a socket here that ssh leads there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pillm.errors import BackendError
from pillm.records import Message
from pillm.remote.sockets import ask


def is_healthy(path: Path) -> bool:
    """Return whether the server is ready: its model is loaded."""
    try:
        return ask(path, "/health")[0] == 200
    except OSError:
        return False


def names_of(path: Path, key: str | None = None) -> frozenset[str]:
    """Return the names under which the server lists its model."""
    try:
        model = ask(path, "/v1/models", key=key)[1]["data"][0]
        told = [*str(model["id"]).split(","), *(model.get("aliases") or ())]  # an older server takes several for one
        return frozenset(str(name) for name in told)
    except (OSError, LookupError, TypeError, AttributeError):
        return frozenset()


def prompt_of(path: Path, messages: Sequence[Message], key: str | None = None) -> str | None:
    """Return the prompt that the server makes of messages, or None where it does not tell."""
    try:
        status, body = ask(path, "/apply-template", {"messages": list(messages)}, key=key)
        return str(body["prompt"]) if status == 200 else None
    except (OSError, LookupError, TypeError):
        return None


def completion_of(path: Path, request: Mapping[str, Any], timeout: float, key: str | None = None) -> str:
    """Return the text that the server completes a chat with, or the vector that it makes of an `input`, as JSON text.

    Raises BackendError where it does not answer with one.
    """
    embeds = "input" in request
    try:
        status, body = ask(path, f"/v1/{'embeddings' if embeds else 'chat/completions'}", request, timeout=timeout, key=key)
    except OSError as error:
        raise BackendError(f"it gave no answer within {timeout:.0f} s ({error})") from error
    try:
        if embeds:
            return json.dumps([float(value) for value in body["data"][0]["embedding"]])
        return str(body["choices"][0]["message"]["content"] or "")
    except (LookupError, TypeError, ValueError) as error:
        raise BackendError(f"it answered with status {status}: {json.dumps(body)[:200]}") from error
