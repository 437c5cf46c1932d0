"""The hub's own cache on this machine: blobs named by their digest, and a folder of links to them for each commit.

https://huggingface.co/docs/huggingface_hub/guides/manage-cache is its description; other programs share it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pillm
from pillm_hub.checking import require_own_file, shards_of
from pillm_hub.names import COMMIT, is_revision

HASHED_AT_A_GLANCE = 64 * 2**20
"""Files up to so many bytes are hashed anew when they are used; larger ones were when they came."""
WEIGHTS = "config.json or weights that its index names"
TOKENIZERS = frozenset({"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"})
SPARE = 64 * 2**20
"""Bytes of a disk that a download leaves free."""


@dataclass(frozen=True, slots=True)
class Cache:
    """The part of the cache that one repository has."""

    root: Path
    repository: str

    @classmethod
    def of(cls, repository: str, root: Path | None = None) -> Cache:
        """Return a repository's part of a cache, by default of the one that HF_HOME or HF_HUB_CACHE names."""
        from huggingface_hub import constants

        return cls(Path(root or constants.HF_HUB_CACHE).expanduser().resolve(), repository)

    @property
    def home(self) -> Path:
        """Return the repository's folder."""
        return self.root / f"models--{self.repository.replace('/', '--')}"

    def snapshot(self, commit: str) -> Path:
        """Return the folder of a commit."""
        return self.home / "snapshots" / commit

    def blob(self, digest: str) -> Path:
        """Return where the bytes of a digest lie."""
        return self.home / "blobs" / digest.partition(":")[2]

    def has(self, digest: str, size: int) -> bool:
        """Say whether the bytes of a digest are here, as far as their size and, for small ones, their hash tell."""
        blob = self.blob(digest)
        if not blob.is_file() or blob.stat().st_size != size:
            return False
        return size > HASHED_AT_A_GLANCE or digest_of(blob, digest) == digest

    def commit_of(self, revision: str | None) -> str | None:
        """Return the commit that a revision meant when the hub was last asked, or None."""
        if revision and COMMIT.fullmatch(revision):
            return revision
        ref = self.home / "refs" / (revision or "main")
        if (revision and not is_revision(revision)) or not ref.is_file() or ref.stat().st_size > 100:
            return None
        commit = ref.read_text("utf-8", errors="replace").strip()
        return commit if COMMIT.fullmatch(commit) else None

    def remember(self, revision: str, commit: str) -> None:
        """Note which commit a revision is now, for when the hub is out of reach."""
        ref = self.home / "refs" / (revision or "main")
        if not COMMIT.fullmatch(revision):
            ref.parent.mkdir(parents=True, exist_ok=True)
            part = ref.with_name(f".{ref.name}.{os.getpid()}.part")
            part.write_text(commit, "utf-8")
            part.replace(ref)

    def whole(self, commit: str) -> Path | None:
        """Return the folder of a commit where its configuration, its tokenizer and all its weights are here, else None.

        An adapter may have its base's tokenizer. Raises UnsafeError for a file that is none of the cache's.
        """
        return None if self.lacking(commit) else self.snapshot(commit)

    def lacking(self, commit: str) -> str:
        """Return what of a commit is not here, in words, the weights first; empty where all is.

        Another program may have fetched some files and not others, so that none of them vouches for the rest.
        """
        folder, at = self.snapshot(commit), f"{self.repository}@{commit[:12]}"
        if not folder.is_dir():
            return WEIGHTS
        for path in folder.iterdir():
            require_own_file(path, self.root, at) if not path.is_dir() or path.is_symlink() else None
        names = {path.name for path in folder.iterdir()}
        shards = shards_of(folder, at)
        weights = shards <= names if shards else any(name.endswith(".safetensors") for name in names)
        if not weights or not names & {"config.json", "adapter_config.json"}:
            return WEIGHTS
        return "" if names & TOKENIZERS or "config.json" not in names else "a tokenizer"

    def link(self, commit: str, name: str, digest: str) -> Path:
        """Put a file of a commit in its place: a link to its blob, or a copy where the disk knows no links."""
        place, blob = self.snapshot(commit) / name, self.blob(digest)
        if place.is_symlink() and place.resolve() == blob.resolve():
            return place
        if place.exists() or place.is_symlink():
            require_own_file(place, self.root, f"{self.repository}@{commit[:12]}")
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        try:
            part.symlink_to(Path(os.path.relpath(blob, place.parent)))
        except OSError:
            shutil.copyfile(blob, part)
        part.replace(place)
        return place

    @contextmanager
    def part(self, digest: str) -> Iterator[tuple[Path, BinaryIO]]:
        """Give the half-fetched file of a digest, open at its end; raise Unavailable where another process is at it."""
        path = self.blob(digest).with_suffix(".pillm.incomplete")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            busy = f"another process is fetching {self.repository} just now. Wait for it, then repeat the command."
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise pillm.Unavailable(busy) from error
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:  # it was accepted in between
                raise pillm.Unavailable(busy)
            yield path, file

    def accept(self, part: Path, digest: str) -> None:
        """Give a file whose bytes were proved its name, durably."""
        pillm.fsync_file(part)
        part.replace(self.blob(digest))
        pillm.fsync_folder(part.parent)

    def require_space(self, needed: int, at: str) -> None:
        """Raise StorageError where the disk has no room for so many more bytes."""
        place = next(folder for folder in (self.home, *self.home.parents) if folder.is_dir())
        free = shutil.disk_usage(place).free
        if needed and needed + SPARE > free:
            raise pillm.StorageError(
                f"{at} needs {needed / 1e9:.2f} GB, and {place} has {free / 1e9:.2f} GB free. Nothing was fetched. "
                "Free some space, or set HF_HOME to a place that has more."
            )


def digest_of(path: Path, like: str) -> str:
    """Return the digest of a file, of the kind that `like` has."""
    with path.open("rb") as file:
        if like.startswith("sha256:"):
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)  # how git names a file's content
        for part in iter(lambda: file.read(1 << 20), b""):
            blob.update(part)
        return f"git:{blob.hexdigest()}"
