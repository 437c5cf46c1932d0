"""Which files of a data set on the hub hold the rows of a split."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pillm

if TYPE_CHECKING:
    from pillm_hf.tables.reading import Address

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
CODE = (".py", ".pkl", ".pickle", ".pt", ".pth", ".bin", ".npy", ".npz", ".joblib", ".dill", ".so")
"""What can run when it is loaded."""
READABLE = ", ".join(SUFFIXES)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a data set: its path, and the hash of its content as the hub lists it."""

    path: str
    hash: str

    @property
    def suffix(self) -> str:
        """Return the end of its name, in small letters."""
        return PurePosixPath(self.path).suffix.casefold()

    @property
    def readable(self) -> bool:
        """Say whether it is a table, and lies where a data set's files lie."""
        parts = PurePosixPath(self.path).parts
        strange = "\\" in self.path or self.path.startswith("/") or any(part.startswith(".") for part in parts)
        return self.suffix in SUFFIXES and not strange


def choose_files(files: list[HubFile], card: Callable[[], Any], address: Address) -> list[HubFile]:
    """Return the files of a split in the order of their names: named in the address, else by the card, else by their paths.

    Raises DataError where none or more than one answer fits, UnsafeError where a file was named that would be code.
    """
    if address.file:
        return _alike(_named(files, address.file, address), address)
    tables = [file for file in files if file.readable]
    if not tables:
        raise pillm.DataError(_nothing(files, address))
    patterns = _patterns(card(), address)
    found = [file for file in tables if any(fnmatchcase(file.path, each) for each in patterns)]
    return _alike(found if patterns else _by_path(tables, address), address)


def _named(files: list[HubFile], pattern: str, address: Address) -> list[HubFile]:
    named = [file for file in files if fnmatchcase(file.path, pattern)]
    unsafe = next((file.path for file in named if file.path == pattern and file.suffix in CODE), None)
    if unsafe:
        raise pillm.UnsafeError(f"{unsafe} of {address.repository} can run code when it is loaded; it is not fetched.")
    return [file for file in named if file.readable]


def _nothing(files: list[HubFile], address: Address) -> str:
    scripts = [file.path for file in files if file.suffix == ".py"]
    more = f" {scripts[0]} is code and is not run; revision=refs/convert/parquet may have its rows." if scripts else ""
    return f"{address.repository} has no table that is read here ({READABLE}).{more}"


def _patterns(configs: Any, address: Address) -> list[str]:
    """Return the paths that the card gives for the split, nothing where it does not say; raise DataError."""
    said = {str(each.get("config_name", "default")): each for each in configs or () if isinstance(each, dict)}
    said = {name: each for name, each in said.items() if each.get("data_files")}
    if not said:
        return []
    marked = next((name for name, each in said.items() if each.get("default") is True), None)
    name = address.config or marked or ("default" if "default" in said else next(iter(said)) if len(said) == 1 else "")
    if name not in said:
        fault = f"has no config {name!r}" if name else "has several configs"
        raise pillm.DataError(f"{address.repository} {fault}. Choose one with config=: {', '.join(sorted(said))}.")
    splits: dict[str, list[str]] = {}
    for split, path in _data_files(said[name]["data_files"]):
        splits.setdefault(split, []).append(path)
    if address.slice.split not in splits:
        raise pillm.DataError(
            f"{address.repository} has no split {address.slice.split!r}. It has: {', '.join(sorted(splits)) or 'none'}."
        )
    return splits[address.slice.split]


def _data_files(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (split, path) of the forms that cards use."""
    if isinstance(value, dict):
        value = [{"split": split, "path": path} for split, path in value.items()]
    for each in value if isinstance(value, list) else [value]:
        split, paths = (each.get("split", "train"), each.get("path")) if isinstance(each, dict) else ("train", each)
        for path in paths if isinstance(paths, list) else [paths]:
            if isinstance(path, str):
                yield str(split), path.removeprefix("./")


def _by_path(tables: list[HubFile], address: Address) -> list[HubFile]:
    """Return the tables whose path has the split's name as a word; a data set of one table has it as its `train`."""
    within = [file for file in tables if not address.config or address.config in PurePosixPath(file.path).parts]
    word = re.compile(rf"(^|[/_.-]){re.escape(address.slice.split)}([/_.-]|$)")
    found = [file for file in within if word.search(file.path)]
    if not found and len(within) == 1 and address.slice.split == "train":
        found = within
    folders = sorted({str(PurePosixPath(file.path).parent) for file in found})
    if len(folders) > 1:
        raise pillm.DataError(
            f"{address.slice.split!r} of {address.repository} lies in several folders: {', '.join(folders)}. "
            "Choose one with config= or file=."
        )
    return found


def _alike(found: list[HubFile], address: Address) -> list[HubFile]:
    kinds = sorted({file.suffix for file in found})
    if not found:
        asked = f"file={address.file}" if address.file else f"split {address.slice.split!r}"
        config = f" of config {address.config!r}" if address.config else ""
        raise pillm.DataError(f"{address.repository} has no {asked}{config} in a form that is read here ({READABLE}).")
    if len(kinds) > 1:
        raise pillm.DataError(f"{address.repository} has the split as {' and as '.join(kinds)}. Choose with file=*{kinds[0]}")
    return sorted(found, key=lambda file: file.path)
