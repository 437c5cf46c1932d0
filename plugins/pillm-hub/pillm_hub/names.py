"""What names may look like: repositories, revisions, files. Whatever else comes from outside never chooses a path."""

from __future__ import annotations

import re

COMMIT = re.compile(r"[0-9a-f]{40}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|git:[0-9a-f]{40}")
_REPOSITORY = re.compile(r"(?=.{3,96}$)[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_REVISION = re.compile(r"(?=.{1,200}$)[A-Za-z0-9_][\w.+-]*(/[A-Za-z0-9_][\w.+-]*)*", re.ASCII)
_FILE = re.compile(r"(?=.{1,200}$)[A-Za-z0-9_][\w.+ -]*", re.ASCII)


def is_repository(text: str) -> bool:
    """Say whether a text has the form owner/name."""
    return bool(_REPOSITORY.fullmatch(text)) and ".." not in text and "--" not in text and not text.endswith((".git", ".gguf"))


def is_revision(text: str) -> bool:
    """Say whether a text can be a branch, a tag or a commit, and a path of the cache."""
    return bool(_REVISION.fullmatch(text)) and ".." not in text


def is_plain_file(text: str) -> bool:
    """Say whether a text names a file of a repository's top folder and nothing else."""
    return bool(_FILE.fullmatch(text)) and ".." not in text
