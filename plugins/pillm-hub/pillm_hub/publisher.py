"""The publisher `hub`: a run's files in a repository, private unless told otherwise, each proved by its hash afterwards."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, TypeVar

from pydantic import Field

import pillm
from pillm_hub.cache import digest_of
from pillm_hub.download import TIMEOUT_SECONDS
from pillm_hub.library import hub_api
from pillm_hub.names import is_repository, is_revision
from pillm_hub.refusals import failures, refuse

T = TypeVar("T")


class HubPublisher(pillm.Publisher):
    """Publishes on the Hugging Face hub: private by default, only what changed is sent, and every hash is compared."""

    name: ClassVar[str] = "hub"
    endpoint: str | None = Field(
        None, description="Address of the hub; by default HF_ENDPOINT, else huggingface.co.", json_schema_extra={"key": False}
    )

    def look(self, release: pillm.Release) -> pillm.Standing:
        """Return what the repository holds already; change nothing.

        Raises ConfigError for a name that is not owner/name, Unavailable without HF_TOKEN or where the hub cannot be asked.
        """
        self._require_possible(release)
        info = self._info(release.repository)
        if info is None:
            return pillm.Standing(exists=False, states={file.name: "new" for file in release.files})
        self._try(release.repository, lambda: self._api().auth_check(release.repository, write=True))
        there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        states = {file.name: _state(file, there.get(file.name)) for file in release.files}
        return pillm.Standing(exists=True, public=not info.private, states=states)

    def publish(self, release: pillm.Release, progress: pillm.Progress) -> pillm.Published:
        """Send what is new or changed in one commit, then compare every file that is there with the one here.

        Raises ConfigError where the repository is public and the release is not, or the other way round, or a tag is taken;
        Unavailable where something stands in the way: what was sent stays, and the same call goes on. Raises BackendError
        where the files there are not the ones here.
        """
        standing, api, at = self.look(release), self._api(), release.repository
        _require_same_visibility(release, standing)
        self._require_free_tag(release, standing)
        if not standing.exists:
            self._try(at, lambda: api.create_repo(at, private=not release.public, exist_ok=True))
            _require_same_visibility(release, self.look(release))  # whatever an organisation's settings make of it
        changed = [file for file in release.files if standing.states[file.name] != "same"]
        with _no_bars():
            commit = self._send(release, changed, progress) if changed else str(self._known(at).sha)
        self._prove(release, commit)
        if release.tag:
            self._try(at, lambda: api.create_tag(at, tag=release.tag, revision=commit, exist_ok=True))
        return pillm.Published(
            address=f"{api.endpoint}/{at}",
            commit=commit,
            files=len(release.files),
            sent=len(changed),
            public=release.public,
            tag=release.tag,
        )

    def _send(self, release: pillm.Release, changed: list[pillm.ReleaseFile], progress: pillm.Progress) -> str:
        """Send the content of large files one by one, then commit all; return the commit."""
        from huggingface_hub import CommitOperationAdd

        api, at, total, done = self._api(), release.repository, sum(file.bytes for file in changed), 0
        additions = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=str(file.path)) for file in changed]
        progress.start(total, "bytes", f"push {len(changed)} files to {at}")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for file, addition in zip(changed, additions, strict=True):
                addition.upload_info.sha256 = bytes.fromhex(file.sha256)  # it was computed already
                self._try(at, partial(api.preupload_lfs_files, at, additions=[addition], free_memory=False))
                done += file.bytes
                progress.advance(file.bytes, percent=round(100 * done / total, 1) if total else 100.0)
            info = self._try(at, lambda: api.create_commit(at, operations=additions, commit_message=release.message))
        for warning in said:
            if issubclass(warning.category, UserWarning):  # what the hub says of the card; not what its library does
                progress.note(" ".join(str(warning.message).split()))
        return str(info.oid)

    def _prove(self, release: pillm.Release, commit: str) -> None:
        """Raise BackendError where a file of the commit is not, byte for byte, the one here."""
        names = [file.name for file in release.files]
        there: dict[str, Any] = {}
        for start in range(0, len(names), 500):  # the hub takes 1,000 at a time
            part = names[start : start + 500]
            ask = partial(self._api().get_paths_info, release.repository, part, revision=commit)
            found = self._try(release.repository, ask)
            there |= {entry.path: entry for entry in found}
        wrong = [file.name for file in release.files if _state(file, there.get(file.name)) != "same"]
        if wrong:
            raise pillm.BackendError(
                f"{release.repository}@{commit[:12]} does not hold what is here: {', '.join(wrong)}. "
                "Repeat the command; if it stays so, look at the repository's .gitignore and .gitattributes."
            )

    def _require_possible(self, release: pillm.Release) -> None:
        from huggingface_hub import get_token

        if not is_repository(release.repository):
            raise pillm.ConfigError(f"{release.repository!r} is no name of a repository. Write owner/name.")
        if release.tag and not is_revision(release.tag):
            raise pillm.ConfigError(f"{release.tag!r} cannot be a tag. Use letters, digits, dots and dashes.")
        if get_token() is None:
            raise pillm.Unavailable(
                "publishing needs HF_TOKEN, a token that may write; it is not set. Make one on the hub's page of tokens and "
                "export it. Nothing was sent."
            )

    def _require_free_tag(self, release: pillm.Release, standing: pillm.Standing) -> None:
        """Raise ConfigError where the tag names another commit than the release will be."""
        if not release.tag or not standing.exists:
            return
        tagged, head = self._info(release.repository, release.tag), self._known(release.repository)
        unchanged = all(state == "same" for state in standing.states.values())
        if tagged is not None and not (unchanged and tagged.sha == head.sha):
            raise pillm.ConfigError(
                f"{release.repository} has a tag {release.tag!r} already, of another commit. Nothing was sent. "
                "Choose another --tag."
            )

    def _known(self, repository: str) -> Any:
        found = self._info(repository)
        if found is None:
            raise pillm.Unavailable(f"{repository} is not on the hub any more. Repeat the command.")
        return found

    def _info(self, repository: str, revision: str | None = None) -> Any:
        """Return what the hub says of a repository, or None where it has none of that name or no such revision."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            return self._api().model_info(repository, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
        except failures() as error:
            absent = isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError))
            if absent and not isinstance(error, GatedRepoError):
                return None
            refuse(error, repository, revision, writing=True)

    def _try(self, repository: str, action: Callable[[], T]) -> T:
        try:
            return action()
        except failures() as error:
            refuse(error, repository, writing=True)

    def _api(self) -> Any:
        return hub_api(self.endpoint)


def _state(file: pillm.ReleaseFile, there: Any) -> Any:
    """Return how a file stands to what the hub lists under its name: by its sha256, or as git names small content."""
    if there is None:
        return "new"
    if there.lfs:
        return "same" if there.lfs.sha256 == file.sha256 else "changed"
    return "same" if digest_of(file.path, "git:") == f"git:{there.blob_id}" else "changed"


def _require_same_visibility(release: pillm.Release, standing: pillm.Standing) -> None:
    if not standing.exists or standing.public == release.public:
        return
    if standing.public:
        raise pillm.ConfigError(
            f"{release.repository} is public: everybody would see these files. Nothing was sent. "
            "Say --public if they may, else choose another repository."
        )
    raise pillm.ConfigError(
        f"{release.repository} is private, and --public was said. Nothing was sent. "
        "Make it public in its settings first, or leave --public out."
    )


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep the library from drawing bars of its own into ours."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    before = are_progress_bars_disabled()
    if not before:
        disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()
