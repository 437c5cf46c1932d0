"""Places that keep models: sources that they come from and publishers that they go to. Plugins subclass both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pillm.backends import Backend
from pillm.progress import Progress

State: TypeAlias = Literal["new", "changed", "same"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file of a model at its source."""

    name: str
    bytes: int
    digest: str
    """What its bytes must be: `sha256:...`, or `git:...` as git names a small file's content."""
    here: bool = False
    """Whether it lies on this machine already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model of a source at one commit: whatever becomes of its branches, these files are meant."""

    name: str
    commit: str
    revision: str = ""
    """The branch or tag that was asked for; empty: the source's own choice."""
    files: tuple[RemoteFile, ...] = ()
    """What would be fetched; nothing where the model was found on this machine and its source was not asked."""
    left_out: tuple[str, ...] = ()
    """Files that are never fetched because they are code, or could run some."""
    folder: Path | None = None
    """Where it lies on this machine, if all of it does."""

    @property
    def label(self) -> str:
        """Return a short name, with the first twelve digits of the commit."""
        return f"{self.name}@{self.commit[:12]}"

    @property
    def identity(self) -> str:
        """Return what names the model's content for ever: its name and the whole commit."""
        return f"{self.name}@{self.commit}"

    @property
    def missing_bytes(self) -> int:
        """Return how many bytes are still to be fetched."""
        return 0 if self.folder else sum(file.bytes for file in self.files if not file.here)


class Source(Backend):
    """Gives models that are kept elsewhere, under names such as owner/name, each pinned to a commit."""

    @abstractmethod
    def claims(self, name: str) -> bool:
        """Say whether a text has the form of this source's names; nothing is asked."""

    @abstractmethod
    def find(self, name: str, revision: str | None = None) -> RemoteModel:
        """Return the model at the commit that a revision means; ask the source, once per process.

        Raises DataError for a name or a revision that is not there, UnsafeError for a model that only runs with code of its
        own, Unavailable where the source cannot be asked and the model is not on this machine.
        """

    @abstractmethod
    def find_here(self, name: str, revision: str | None = None) -> RemoteModel | None:
        """Return the model where all of it lies on this machine, else None; nothing is asked."""

    @abstractmethod
    def fetch(self, model: RemoteModel, progress: Progress, only: Collection[str] | None = None) -> Path:
        """Return the folder of a model that `find` gave, with what is missing fetched first; `only` names files that will do.

        Raises what `find` raises, UnsafeError for bytes that are not the listed ones, StorageError where the disk is too small.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """One file that is to be published, measured and hashed."""

    path: Path
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What is to be published, and where."""

    repository: str
    files: tuple[ReleaseFile, ...]
    public: bool = False
    message: str = "Upload with pillm"
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a place holds before anything is sent."""

    exists: bool
    public: bool = False
    states: dict[str, State] = field(default_factory=dict)
    """For each file of the release whether it is new there, changed or the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was published: every file there has the hash of the one here."""

    address: str
    commit: str
    files: int
    sent: int
    """How many of the files were new or changed."""
    public: bool = False
    tag: str = ""


class Publisher(Backend):
    """Puts a run's files where others find them."""

    @abstractmethod
    def look(self, release: Release) -> Standing:
        """Return what the place holds already; change nothing.

        Raises ConfigError for a name that cannot be one, Unavailable where the place or the account's key cannot be used.
        """

    @abstractmethod
    def publish(self, release: Release, progress: Progress) -> Published:
        """Send what is new or changed, then prove that every file of the release is there, byte for byte.

        Raises ConfigError where the place is public and the release is not, Unavailable where something stands in the way:
        the same command resumes. Raises BackendError where the files there are not the ones here.
        """
