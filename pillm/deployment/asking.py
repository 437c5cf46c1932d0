"""Asking a llama-server on a board, through a socket here that ssh leads there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pillm.errors import BackendError
from pillm.remote.sockets import ask


def is_healthy(path: Path) -> bool:
    """Return whether the server is ready: its model is loaded."""
    try:
        return ask(path, "/health")[0] == 200
    except OSError:
        return False


def names_itself(path: Path, key: str | None = None) -> str | None:
    """Return the first name under which the server lists its model, or None."""
    try:
        return str(ask(path, "/v1/models", key=key)[1]["data"][0]["id"])
    except (OSError, LookupError, TypeError):
        return None


def completion_of(path: Path, request: Mapping[str, Any], timeout: float, key: str | None = None) -> str:
    """Return the text that the server completes a chat with; raise BackendError where it does not answer with one."""
    try:
        status, body = ask(path, "/v1/chat/completions", request, timeout=timeout, key=key)
    except OSError as error:
        raise BackendError(f"it gave no answer within {timeout:.0f} s ({error})") from error
    try:
        return str(body["choices"][0]["message"]["content"] or "")
    except (LookupError, TypeError) as error:
        raise BackendError(f"it answered with status {status}: {json.dumps(body)[:200]}") from error
