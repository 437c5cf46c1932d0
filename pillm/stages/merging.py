"""Join what several machines labelled: the parts of one prompts file become one folder, as if one had labelled it all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from pillm.answers import AnswerStore
from pillm.artifacts import CONTRACT_FILE
from pillm.errors import DataError
from pillm.files import lock, named, storage_errors
from pillm.records import JSONObject, Prompt, digest
from pillm.stages.labelled import FAILED, LABELLED, REJECTED, STORE, Ended, Labelled, files_by_state
from pillm.stages.worklist import shard_of
from pillm.store import Lineage, WorkFolder, read_manifest
from pillm.verification import verify

_STATES = {LABELLED: "answered", REJECTED: "rejected", FAILED: "failed"}


def merge(prompts: Iterable[Prompt], shards: Sequence[Path], out: Path | str) -> Labelled:
    """Join the folders of all shards of `prompts` into `out`: its files of rows are those of a run that did it all.

    Raises DataError where a shard is missing, damaged, there twice, or was made from other prompts or by another teacher.
    """
    out, found = named(out), _manifests(shards)
    key = digest(["merge", *(manifest["key"] for _, manifest in found)])
    with lock(out.with_name(f".{out.name}.lock")), WorkFolder(out, "label", key) as work, storage_errors(out):
        ended, size = _join(prompts, [folder for folder, _ in found], work.path)
        (work.path / STORE).unlink(missing_ok=True)
        with AnswerStore(work.path / STORE) as store:
            for folder, _ in found:
                store.absorb(folder / STORE)
            spent = store.spent()
        (work.path / CONTRACT_FILE).write_bytes((found[0][0] / CONTRACT_FILE).read_bytes())
        counts = ended.counts(size)
        transient = sum(manifest["results"]["transient"] for _, manifest in found)
        teacher, origin = found[0][1]["results"]["teacher"], found[0][1]["results"].get("origin")
        cost = None if spent.cost is None else float(spent.cost)
        work.publish(
            Lineage(
                verb="label",
                key=key,
                parents={folder.name: manifest["key"] for folder, manifest in found},
                seconds=sum(manifest["seconds"] for _, manifest in found),
                counts=counts.to_json(),
                results={
                    "teacher": teacher,
                    "origin": origin,
                    "transient": transient,
                    "spent": {"tokens": spent.tokens, "cost": cost},
                },
            )
        )
    return Labelled(out / LABELLED, counts, transient=transient)


def _manifests(shards: Sequence[Path]) -> list[tuple[Path, JSONObject]]:
    """Return the shards in their order with their manifests."""
    found: dict[int, tuple[Path, JSONObject]] = {}
    for folder in shards:
        manifest = read_manifest(folder)
        shard = manifest["results"].get("shard") if manifest else None
        if manifest is None or not shard:
            raise DataError(f"{folder} is not what `pillm label --shard I/N` made, or its manifest is damaged. Label it again.")
        if wrong := verify(folder):
            raise DataError(
                f"{folder} is damaged: {wrong[0].path.name} {wrong[0].reason}. Label it again; nothing that is stored is asked "
                "again."
            )
        if shard[1] != len(shards) or shard[0] in found:
            raise DataError(
                f"{folder} is part {shard[0]} of {shard[1]}, and {len(shards)} folders were given. Give each of the "
                f"{shard[1]} parts once."
            )
        found[shard[0]] = (folder, manifest)
    ordered = [found[number] for number in sorted(found)]
    for what in ("backends", "contract"):
        told = {digest(manifest["backends"] if what == "backends" else _contract(folder)) for folder, manifest in ordered}
        if len(told) > 1:
            raise DataError(f"the parts were not labelled alike: their {what} differ. Label them with the same options.")
    return ordered


def _contract(folder: Path) -> JSONObject:
    found: JSONObject = json.loads((folder / CONTRACT_FILE).read_text("utf-8"))
    return found


def _join(prompts: Iterable[Prompt], shards: Sequence[Path], out: Path) -> tuple[Ended, int]:
    """Write the rows in the order of the prompts; return where they ended, and how many there were."""
    ended, size = Ended(), 0
    heads = [{name: _Head(folder / name) for name in _STATES} for folder in shards]
    with files_by_state(out) as files:
        for prompt in prompts:
            size += 1
            part = heads[shard_of(prompt, len(shards)) - 1]
            name = next((name for name, head in part.items() if head.id == prompt.id), None)
            if name is None:
                ended.pending += 1
                continue
            files[name].write(part[name].take())
            state = _STATES[name]
            setattr(ended, state, getattr(ended, state) + 1)
    for folder, part in zip(shards, heads, strict=True):
        for name, head in part.items():
            if head.id is not None:
                raise DataError(f"{folder / name} holds row {head.id!r}, which the prompts do not hold in that place.")
    ended.tidy(out)
    return ended, size


class _Head:
    """The next row of a file."""

    def __init__(self, path: Path) -> None:
        self._lines = self._read(path)
        self._next()

    @staticmethod
    def _read(path: Path) -> Iterator[str]:
        if path.is_file():
            file: TextIO
            with path.open(encoding="utf-8", newline="\n") as file:
                yield from file

    def _next(self) -> None:
        self._line = next(self._lines, None)
        self.id: str | None = None if self._line is None else str(json.loads(self._line)["id"])

    def take(self) -> str:
        """Return the row's line, and go on to the next."""
        line = self._line or ""
        self._next()
        return line
