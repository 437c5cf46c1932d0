"""What labelling leaves in its folder: labelled, rejected and failed rows, the contract, the count of every row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pillm.artifacts import CONTRACT_FILE
from pillm.backends import Rows
from pillm.contract import Contract
from pillm.files import replacing
from pillm.jsonl import json_line
from pillm.records import Answer, Example, JSONObject
from pillm.rows import example_to_row, given_example, prompt_to_row
from pillm.stages.rowstates import Memory, Row, Standing
from pillm.stages.worklist import Worklist
from pillm.store import read_manifest
from pillm.validation import validate

LABELLED, REJECTED, FAILED, STORE = "labelled.jsonl", "rejected.jsonl", "failed.jsonl", "answers.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Where every row ended: in = answered + rejected + failed + pending."""

    in_: int = 0
    answered: int = 0
    rejected: int = 0
    failed: int = 0
    pending: int = 0

    @property
    def balanced(self) -> bool:
        """Say whether every row is accounted for."""
        return self.in_ == self.answered + self.rejected + self.failed + self.pending

    def to_json(self) -> dict[str, int]:
        """Return the counts as plain JSON."""
        return {"in": self.in_} | {name: getattr(self, name) for name in ("answered", "rejected", "failed", "pending")}

    def __str__(self) -> str:
        parts = (f"{getattr(self, name)} {name}" for name in ("answered", "rejected", "failed", "pending"))
        return f"{self.in_} rows = {' + '.join(parts)}"


class Labelled(Rows):
    """The labelled rows on disk, and where every row ended."""

    def __init__(self, path: Path, counts: RowCounts, *, transient: int = 0, up_to_date: bool = False) -> None:
        super().__init__(path, counts.answered)
        self.counts = counts
        self.transient = transient
        """Failed rows that the same command asks again, and may well get answered."""
        self.up_to_date = up_to_date

    @property
    def contract(self) -> Contract | None:
        """Return what the teacher was told, as the student is to be told it."""
        return contract_beside(self.path)


def counts_of(value: dict[str, int]) -> RowCounts:
    """Return the counts of `RowCounts.to_json`."""
    return RowCounts(in_=value["in"], **{name: number for name, number in value.items() if name != "in"})


def contract_beside(labelled: Path) -> Contract | None:
    """Return the contract that a file of labelled rows was made under, or None where none is recorded; raise DataError."""
    path = labelled.parent / CONTRACT_FILE
    remedy = "Remove it and label again: nothing stored is asked again."
    return Contract.read(path, remedy) if path.is_file() else None


def teacher_beside(labelled: Path) -> JSONObject | None:
    """Return who answered a file of labelled rows, as the manifest beside it records it; None where none does."""
    found = ((read_manifest(labelled.parent) or {}).get("results") or {}).get("origin")
    return found if isinstance(found, dict) and found.get("name") else None


@dataclass(slots=True)
class Ended:
    """Where the rows ended, as far as they were written."""

    answered: int = 0
    rejected: int = 0
    failed: int = 0
    pending: int = 0
    transient: int = 0
    broken: int = 0
    """Rows that arrived with an answer that would have been refused."""

    def take(self, row: Row, standing: Standing) -> None:
        """Count one row."""
        setattr(self, standing.state, getattr(self, standing.state) + 1)
        self.transient += standing.transient and standing.state in ("failed", "answered")
        given = row.request is None and not row.filtered
        self.broken += given and not validate(row.prompt, standing.answer or Answer("")).accepted

    def tidy(self, out: Path) -> None:
        """Remove the files of states that no row ended in."""
        for name, written in ((REJECTED, self.rejected), (FAILED, self.failed)):
            if not written:
                (out / name).unlink(missing_ok=True)

    def counts(self, rows: int) -> RowCounts:
        """Return the counts of so many rows."""
        return RowCounts(in_=rows, answered=self.answered, rejected=self.rejected, failed=self.failed, pending=self.pending)


def write_rows_by_state(out: Path, rows: Worklist, memory: Memory) -> Ended:
    """Write the file of each state, each whole or not at all, one row after the other; a file without rows is removed."""
    ended = Ended()
    with files_by_state(out) as files:
        for row in rows.unchanged():
            standing = memory.look(row)
            ended.take(row, standing)
            if standing.state == "answered":
                files[LABELLED].write(json_line(_labelled_row(row, standing)))
            elif standing.state != "pending":
                files[f"{standing.state}.jsonl"].write(json_line(_refused_row(row, standing)))
    ended.tidy(out)
    return ended


@contextmanager
def files_by_state(out: Path) -> Iterator[dict[str, TextIO]]:
    """Open the files of rows to be written anew, each whole or not at all."""
    with ExitStack() as stack:
        parts = {name: stack.enter_context(replacing(out / name)) for name in (LABELLED, REJECTED, FAILED)}
        yield {name: stack.enter_context(part.open("w", encoding="utf-8", newline="\n")) for name, part in parts.items()}


def _labelled_row(row: Row, standing: Standing) -> JSONObject:
    if standing.chosen is None:
        return example_to_row(given_example(row.prompt))
    answer = standing.answer or Answer("")
    return example_to_row(Example(prompt=row.prompt, answer=answer, key=standing.chosen.request.key))


def _refused_row(row: Row, standing: Standing) -> JSONObject:
    # what a filter left out may be what must not be kept: its id is enough
    kept: JSONObject = {"id": row.prompt.id} if row.filtered else prompt_to_row(row.prompt)
    said = {"answer": standing.answer.content} if standing.answer else {}
    kept["refused"] = {"reason": standing.reason, **said}
    return kept
