"""What the hub's refusals mean for whoever asked: one sentence each, with what to do. Nothing of a request is repeated."""

from __future__ import annotations

import errno
import os
import re
from typing import Any, NoReturn

import pillm
from pillm_hub.names import COMMIT

_RESETS = re.compile(r"t\s*=\s*(\d+)")
KEPT = "What was fetched is kept, and the same command goes on."


def failures() -> tuple[type[Exception], ...]:
    """Return what the hub's library raises where something stands in the way."""
    from huggingface_hub.errors import HTTPError, RevisionResolutionError  # type: ignore[attr-defined]

    return (HTTPError, RevisionResolutionError, OSError, ValueError, RuntimeError)


def refuse(error: Exception, repository: str, revision: str | None = None, *, writing: bool = False) -> NoReturn:
    """Raise what a refusal means: DataError for what is not there, StorageError for a full disk, else Unavailable."""
    if isinstance(error, pillm.PillmError):
        raise error
    if type(error) is RuntimeError and isinstance(error.__cause__, Exception):  # how an upload tells of a file
        refuse(error.__cause__, repository, revision, writing=writing)
    short = revision[:12] if revision and COMMIT.fullmatch(revision) else revision
    at = f"{repository}@{short}" if short else repository
    _refuse_by_name(error, repository, revision, at)
    response = getattr(error, "response", None)
    if response is not None:
        _refuse_by_status(error, response, at, writing)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise pillm.StorageError(
            f"{at}: no space is left on the disk. {KEPT} Free some space, or set HF_HOME to a place that has more."
        ) from error
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        raise pillm.StorageError(
            f"{getattr(error, 'filename', None) or at}: {os.strerror(error.errno)}. Mend its permissions, or set HF_HOME."
        ) from error
    if isinstance(error, ValueError) and writing:
        raise pillm.DataError(f"{at}: the hub does not take it: {_first_lines(error)}. Nothing was published.") from error
    raise pillm.Unavailable(
        f"the hub is out of reach for {at} ({type(error).__name__}). "
        f"{'What was sent stays.' if writing else KEPT} Look after the network, then repeat the command."
    ) from error


def _refuse_by_name(error: Exception, repository: str, revision: str | None, at: str) -> None:
    """Raise for the refusals that have a class of their own."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        raise pillm.Unavailable(
            f"{at} is gated. Accept its terms on its page, then set HF_TOKEN to a token of that account."
        ) from error
    if isinstance(error, errors.RevisionNotFoundError):
        raise pillm.DataError(f"{repository} has no revision {revision!r}. Give a branch, a tag or a commit hash.") from error
    if isinstance(error, errors.DisabledRepoError):
        raise pillm.DataError(f"{at} was disabled by the hub, and nobody gets it any more. Choose another one.") from error
    if isinstance(error, errors.RepositoryNotFoundError):
        seen = "that HF_TOKEN may see" if _has_token() else "that you may see"
        raise pillm.DataError(
            f"the hub has no model {repository!r} {seen}. Check the spelling; a private model needs HF_TOKEN of an "
            "account that may read it."
        ) from error
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        raise pillm.DataError(f"a file that {at} lists is not there. Choose another revision, or tell its owner.") from error
    if isinstance(error, errors.OfflineModeIsEnabled):
        raise pillm.Unavailable(
            f"{at} is not complete in the local cache and HF_HUB_OFFLINE is set. "
            "Go online once and repeat the command, or give a folder."
        ) from error
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.RevisionResolutionError)):
        raise pillm.Unavailable(
            f"{at} is not complete in the local cache and the hub is out of reach (no network). "
            "Go online once and repeat the command, or give a folder."
        ) from error


def _refuse_by_status(error: Exception, response: Any, at: str, writing: bool) -> None:
    status, said = int(response.status_code), str(getattr(error, "server_message", None) or "").lower()
    if status == 429:
        resets = _RESETS.search(response.headers.get("ratelimit", "")) or re.match(
            r"(\d+)$", response.headers.get("retry-after", "")
        )
        wait = f"in {resets[1]} s" if resets else "in some minutes"
        more = "" if _has_token() else " With HF_TOKEN set the limit is higher."
        raise pillm.Unavailable(f"the hub's limit of requests is used up ({at}). {KEPT} Repeat it {wait}.{more}") from error
    if status in (402, 413) or "quota" in said or "storage" in said:
        raise pillm.Unavailable(
            f"the storage quota of the account of {at} is used up. Free some, or raise it; then repeat the command."
        ) from error
    if status in (401, 403):
        what = "write to" if writing else "read"
        told = "HF_TOKEN may not" if _has_token() else "HF_TOKEN is not set, and nobody may"
        raise pillm.Unavailable(
            f"{told} {what} {at}. Make a token with that right on the hub's page of tokens, and set it."
        ) from error
    if status >= 500:
        raise pillm.Unavailable(f"the hub has a failure of its own ({at}, HTTP {status}). {KEPT} Repeat it later.") from error
    if status == 409:
        raise pillm.Unavailable(f"{at} is being changed by somebody else just now. Repeat the command.") from error
    raise pillm.Unavailable(f"the hub refused {at} (HTTP {status}). {KEPT} Repeat it later.") from error


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _first_lines(error: Exception) -> str:
    from huggingface_hub import get_token

    return " ".join(str(error).replace(get_token() or "\0", "***").split())[:300].rstrip(".")
