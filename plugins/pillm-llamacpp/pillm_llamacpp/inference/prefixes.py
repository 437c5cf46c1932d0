"""What prompts have in common at their beginning: computed once, given to every sequence, kept in files where asked.

A file holds what llama.cpp computed for the tokens of a prefix. It is only taken where model, context, cache types and
llama.cpp are the very ones that made it, and where its bytes are whole; any other is passed over and computed anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHORTEST = 32
"""Tokens below which reading a prompt again is no more work than keeping it."""
_MOST_IN_MEMORY = 4
_MOST_TOKENS = 1 << 20
_MOST_BYTES = 1 << 30
_MAGIC = b"pillm prefix 1\n"
_MOST_HEADER = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where prefixes are kept: one file, or a folder that holds at most `most` bytes of them."""

    path: Path
    single: bool
    most: int = _MOST_BYTES


@dataclass(slots=True)
class Prefix:
    """The tokens of a beginning, and llama.cpp's state after them; the state is None while it lies in its file."""

    tokens: list[int]
    state: np.ndarray[Any, np.dtype[np.uint8]] | None
    path: Path | None = None


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two beginnings share."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def key_of(**facts: object) -> str:
    """Return what a file must have been made with to be taken, as one name."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class Prefixes:
    """The prefixes of a session, the last used first."""

    def __init__(self, key: str, storage: Storage | None = None) -> None:
        self._key, self._storage = key, storage
        self._known: list[Prefix] = list(self._filed())

    def best(self, prompt: Sequence[int]) -> Prefix | None:
        """Return the prefix that shares most with a prompt, ready to be restored; None where none shares enough."""
        while self._known:
            found = max(self._known, key=lambda one: common(one.tokens, prompt))
            if common(found.tokens, prompt) < SHORTEST:
                return None
            self._known.remove(found)
            if found.state is None:
                found.state = self._state(found)
            if found.state is not None:  # else it is damaged, and the next best is looked at
                self._known.insert(0, found)
                return found
        return None

    def covered(self, prompt: Sequence[int]) -> int:
        """Return how many tokens of a prompt a known prefix holds."""
        return max((common(one.tokens, prompt) for one in self._known), default=0)

    def add(self, tokens: list[int], state: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """Keep a prefix, in its file too where there is a place for one."""
        self._known.insert(0, Prefix(tokens, state))
        for old in [one for one in self._known if one.state is not None][_MOST_IN_MEMORY:]:
            self._known.remove(old)
        if self._storage is not None:
            with contextlib.suppress(OSError):  # a full disk costs the next start time, and nothing else
                self._write(self._storage, tokens, state)

    def _filed(self) -> Iterator[Prefix]:
        """Yield the prefixes in files whose head says that they were made for this model."""
        if self._storage is None:
            return
        paths = [self._storage.path] if self._storage.single else sorted(self._storage.path.glob(f"{self._key[:32]}-*.state"))
        for path in paths:
            head = _head(path)
            if head is not None and head["key"] == self._key:
                yield Prefix(head["tokens"], None, path)

    def _state(self, prefix: Prefix) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
        """Return the state in a prefix's file, or None where it is not what its head says."""
        path = prefix.path
        head = _head(path) if path is not None else None
        if path is None or head is None or head["tokens"] != prefix.tokens:
            return None
        try:
            with path.open("rb") as file:
                file.seek(head["start"])
                data = file.read(head["bytes"] + 1)
            os.utime(path)  # what was used last is thrown away last
        except OSError:
            return None
        if len(data) != head["bytes"] or hashlib.sha256(data).hexdigest() != head["sha256"]:
            return None
        return np.frombuffer(data, np.uint8)

    def _write(self, storage: Storage, tokens: list[int], state: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        path = storage.path
        if storage.single and path.exists() and _head(path) is None and path.stat().st_size:
            return  # whatever it is, it is not ours to replace
        if not storage.single:
            storage.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            name = hashlib.sha256(np.asarray(tokens, np.int32).tobytes()).hexdigest()[:32]
            path = storage.path / f"{self._key[:32]}-{name}.state"
            if not _make_room(storage.path, storage.most, len(state)):
                return
        data = state.tobytes()
        head = {"key": self._key, "tokens": tokens, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(_MAGIC + json.dumps(head).encode() + b"\n" + data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _make_room(folder: Path, most: int, wanted: int) -> bool:
    """Remove what was not used for longest until a file of `wanted` bytes has room; say whether it can have any."""
    files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*.state"))
    used = sum(size for _, size, _ in files)
    while files and used + wanted > most:
        _, size, path = files.pop(0)
        path.unlink(missing_ok=True)
        used -= size
    return used + wanted <= most


def _head(path: Path) -> dict[str, Any] | None:
    """Return what a file says that it holds, and where that starts; None where it is no prefix file or a strange one."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
            line = file.readline(_MOST_HEADER)
            head = json.loads(line)
            size = path.stat().st_size
    except (OSError, ValueError, RecursionError):
        return None
    start = len(_MAGIC) + len(line)
    if not isinstance(head, dict) or set(head) != {"key", "tokens", "bytes", "sha256"} or not line.endswith(b"\n"):
        return None
    tokens, held = head["tokens"], head["bytes"]
    if not isinstance(tokens, list) or not SHORTEST <= len(tokens) <= _MOST_TOKENS:
        return None
    if not all(isinstance(token, int) and 0 <= token < 1 << 31 for token in tokens):
        return None
    if not isinstance(held, int) or isinstance(held, bool) or held != size - start:
        return None
    return {**head, "start": start}
