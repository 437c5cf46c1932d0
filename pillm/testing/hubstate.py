"""What a fake hub holds: repositories with commits, branches and tags, and large files by their sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

JSONObject: TypeAlias = dict[str, Any]
SAMPLE = {
    "config.json": b'{"model_type": "llama", "hidden_size": 8}',
    "tokenizer.json": b'{"model": {"vocab": {"auto_map": 0, "trust_remote_code": 1}}}',
    "tokenizer_config.json": b'{"model_max_length": 64}',
    "model.safetensors": bytes(range(256)) * 40,
}
"""A model as a hub holds it; its vocabulary has words that would be settings elsewhere, its weights are none."""
LARGE = (".safetensors", ".gguf", ".bin")
"""Files that the hub keeps by their sha256; the others it keeps as git does."""


def git_hash(data: bytes) -> str:
    """Return how git names a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass
class FakeRepository:
    """One repository: its files by commit, what its branches and tags mean, and who may see it."""

    name: str
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], message: str = "", branch: str = "main") -> str:
        """Let a branch hold exactly these files; return the commit."""
        listing = repr((self.name, len(self.commits), sorted((name, git_hash(data)) for name, data in files.items())))
        commit = hashlib.sha1(listing.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = dict(files)
        self.refs[branch], self.messages[commit] = commit, message
        return commit

    def at(self, revision: str) -> str | None:
        """Return the commit that a revision is."""
        return revision if revision in self.commits else self.refs.get(revision)

    @property
    def head(self) -> dict[str, bytes]:
        """Return the files of the branch main."""
        return self.commits.get(self.refs.get("main", ""), {})

    def told(self, commit: str) -> JSONObject:
        """Return what the hub tells of the repository at a commit."""
        siblings: list[JSONObject] = []
        for name, data in self.commits.get(commit, {}).items():
            siblings.append({"rfilename": name, "size": len(data), "blobId": git_hash(data)})
            if is_large(name):
                siblings[-1]["lfs"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 100}
        return {"id": self.name, "sha": commit, "private": self.private, "gated": self.gated, "siblings": siblings}

    def tree(self, commit: str, paths: list[str] | None = None) -> list[JSONObject]:
        """Return the files of a commit as the hub lists them in trees."""
        found: list[JSONObject] = []
        for name, data in self.commits[commit].items():
            if paths is None or name in paths:
                found.append({"type": "file", "path": name, "size": len(data), "oid": git_hash(data)})
                if is_large(name):
                    found[-1]["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 100}
        return found


def is_large(name: str) -> bool:
    """Say whether a file is kept by its sha256."""
    return name.endswith(LARGE)
