"""Data sets of the hub as tables: one commit, text tables only, never code. Nothing here imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pillm
from pillm_hf.models.hub import COMMIT, REPOSITORY, refuse
from pillm_hf.tables.datafiles import HubFile, choose_files
from pillm_hf.tables.parquet import count_parquet, read_parquet
from pillm_hf.tables.slices import Slice

KEYS = ("split", "config", "file", "revision")
FORM = "hf://owner/name?split=train[:2000] (and &config=, &file=, &revision=)"
Rows = Iterator[tuple[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What `hf://owner/name?split=train[:2000]&config=en&file=data/*.jsonl&revision=v1` says."""

    repository: str
    slice: Slice
    config: str = ""
    file: str = ""
    revision: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return what an address says; raise DataError."""
        place, _, query = text.removeprefix("hf://").partition("?")
        repository, _, revision = place.partition("@")
        said = {"revision": revision} if revision else {}
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")  # as it stands: 10%:20% is no escape
            if name not in KEYS or name in said or not value:
                raise pillm.DataError(f"{text}: {pair!r} is not understood. Write {FORM}; each at most once.")
            said[name] = value
        if not REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
            raise pillm.DataError(f"{text}: a data set of the hub is written owner/name. Write {FORM}.")
        return cls(repository=repository, slice=Slice.parse(said.pop("split", "train")), **said)

    def pinned(self, commit: str) -> str:
        """Return the address with the commit in it: it names the same rows for ever, and can be given again."""
        said = {"split": str(self.slice), "config": self.config, "file": self.file}
        return f"hf://{self.repository}@{commit}?" + "&".join(f"{name}={value}" for name, value in said.items() if value)


def read_hub_table(text: str) -> pillm.Table:
    """Return the table of a data set on the hub, at the commit that its revision is now; files are fetched when it is read.

    Raises DataError where data set, revision, split or slice are not there, UnsafeError for a file that would be code,
    MissingDependency for Parquet without pyarrow, Unavailable where the hub cannot be asked.
    """
    address = Address.parse(text)
    commit = _commit(address.repository, address.revision or None)
    files = choose_files(_listing(address.repository, commit), partial(_card, address.repository, commit), address)
    fetch = partial(_fetch, address.repository, commit)
    count = partial(_count, files, fetch)
    return pillm.Table(source=address.pinned(commit), read=lambda: address.slice.of(partial(_rows, files, fetch), count))


def _rows(files: list[HubFile], fetch: Callable[[HubFile], Path]) -> Rows:
    columns: dict[tuple[str, ...], str] = {}
    for file in files:
        path = fetch(file)
        if file.suffix == ".parquet":
            yield from read_parquet(path)
            continue
        table = pillm.read_table(path)
        if table.columns:
            columns.setdefault(table.columns, file.path)
        if len(columns) > 1:
            raise pillm.DataError(f"{' and '.join(columns.values())} have other columns. Choose one with file=.")
        yield from table


def _count(files: list[HubFile], fetch: Callable[[HubFile], Path]) -> int:
    if all(file.suffix == ".parquet" for file in files):
        return sum(count_parquet(fetch(file)) for file in files)
    return sum(1 for _ in _rows(files, fetch))


@cache
def _commit(repository: str, revision: str | None) -> str:
    if revision and COMMIT.fullmatch(revision):
        return revision
    commit = _ask(repository, revision, lambda hub: hub.resolve_revision(repository, repo_type="dataset", revision=revision))
    resolved = str(commit.resolved)
    if not COMMIT.fullmatch(resolved):
        raise pillm.Unavailable(f"the hub named no commit for {repository}. Try again, or give revision= a commit hash.")
    return resolved


def _listing(repository: str, commit: str) -> list[HubFile]:
    def ask(hub: Any) -> list[HubFile]:
        tree = hub.list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset")
        return [_file(entry) for entry in tree if hasattr(entry, "blob_id")]

    listing: list[HubFile] = _ask(repository, commit, ask)
    return listing


def _file(entry: Any) -> HubFile:
    if entry.lfs is not None:
        return HubFile(entry.path, f"sha256:{entry.lfs.sha256}")
    return HubFile(entry.path, f"git:{entry.blob_id}")


def _card(repository: str, commit: str) -> Any:
    """Return what the data set's card says about its configurations, None where it says nothing."""
    info = _ask(repository, commit, lambda hub: hub.dataset_info(repository, revision=commit))
    return info.card_data.to_dict().get("configs") if info.card_data else None


def _ask(repository: str, revision: str | None, question: Callable[[Any], Any]) -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError, RevisionResolutionError

    try:
        return question(HfApi())
    except (HTTPError, RevisionResolutionError, OSError, ValueError) as error:
        refuse(error, repository, revision, "data set")


def _fetch(repository: str, commit: str, file: HubFile) -> Path:
    """Return a file of a commit, downloaded where it is not here yet, once its content is proved to be the one listed."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError

    if file.suffix == ".parquet":
        count_parquet(None)  # no download that could not be read
    try:
        path = Path(hf_hub_download(repository, file.path, revision=commit, repo_type="dataset"))
    except (HTTPError, OSError, ValueError) as error:
        refuse(error, repository, commit, "data set")
    stat = path.stat()
    if file.hash != _hash(path.resolve(), file.hash.partition(":")[0], stat.st_mtime_ns, stat.st_size):
        raise pillm.Unavailable(
            f"{file.path} of {repository}@{commit[:12]} came with another content than the hub lists. "
            f"Nothing of it was used. Remove {path.resolve()} and repeat the command."
        )
    return path


@cache
def _hash(path: Path, kind: str, _changed: int, size: int) -> str:
    with path.open("rb") as file:
        if kind == "sha256":
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)  # how git names a file's content
        for part in iter(lambda: file.read(1 << 20), b""):
            blob.update(part)
        return f"git:{blob.hexdigest()}"
