"""A sample of the rows to label: drawn by a hash, and asked as labelling would ask it, into labelling's own store."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from pillm.answers import AnswerStore
from pillm.backends import Teacher
from pillm.errors import DataError, Interrupted, Unavailable
from pillm.files import lock, storage_errors
from pillm.progress import Progress
from pillm.stages.labelled import STORE
from pillm.stages.labeller import Labeller
from pillm.stages.labelling import stores_of
from pillm.stages.rowstates import Memory, Row, Standing
from pillm.stages.settings import Labelling
from pillm.store import MANIFEST, refuse_foreign


def drawn(rows: Iterable[Row], size: int, *, seed: int = 0, limit: int | None = None) -> list[Row]:
    """Return so many of the rows that labelling would ask, those with the lowest hashes of seed and id, or all there are.

    Which they are does not depend on the order of the rows, and a smaller sample is part of a larger one. Raises DataError
    where labelling would ask none.
    """
    open_rows = (row for row in rows if row.request is not None and (limit is None or row.number < limit))

    def place(row: Row) -> bytes:
        return hashlib.sha256(f"{seed}:{row.prompt.id}".encode("utf-8", "surrogatepass")).digest()

    found = heapq.nsmallest(size, open_rows, key=place)
    if not found:
        raise DataError("no row would be asked, so there is nothing to probe: all arrive answered. --relabel asks them too.")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """Gets the teacher's word on a sample: what is stored is taken, the rest is asked and stored as labelling does."""

    teacher: Teacher
    out: Path
    settings: Labelling
    progress: Progress

    def hear(self, rows: Sequence[Row]) -> tuple[list[Standing], int]:
        """Return where each row stands, and how many had to be asked; nothing is written where none had.

        Raises Unavailable where rows got no answer, Interrupted on Ctrl-C or SIGTERM; what was answered is stored.
        """
        refuse_foreign(self.out, "label", trace=STORE)
        store = self.out / STORE
        with lock(self.out / ".lock"), storage_errors(self.out), stores_of(self.settings.reuse) as others:
            with AnswerStore(store, read_only=True) if store.is_file() else nullcontext() as stored:
                memory = self._memory(stored, others)
                standings = [memory.look(row) for row in rows]
            to_ask = sum(bool(one.open) for one in standings)
            if to_ask:
                standings = self._ask(rows, others)
        return standings, to_ask

    def _memory(self, store: AnswerStore | None, others: Sequence[AnswerStore]) -> Memory:
        return Memory.of(self.teacher, self.settings, store, others)

    def _ask(self, rows: Sequence[Row], others: Sequence[AnswerStore]) -> list[Standing]:
        (self.out / MANIFEST).unlink(missing_ok=True)  # from here on the store changes, and no manifest vouches for it
        self.progress.start(len(rows))
        with AnswerStore(self.out / STORE) as store:
            memory = self._memory(store, others)
            labeller = Labeller(self.teacher, memory, store, self.progress)
            labeller.work(rows)
            standings = [memory.look(row) for row in rows]
        heard = sum(not _unheard(one) for one in standings)
        stored = f"{heard} of {len(rows)} rows of the sample are stored. The same command resumes."
        if labeller.interrupted:
            raise Interrupted(f"Interrupted. {stored}")
        if labeller.stopped:
            raise Unavailable(f"the teacher stopped the probe: {labeller.stopped.message} {stored}")
        if labeller.budget.exhausted and heard < len(rows):
            raise Unavailable(f"{labeller.budget}. {stored} Raise the cap first.")
        if heard < len(rows):
            why = next((one.reason for one in standings if one.reason and _unheard(one)), "the teacher said nothing")
            raise Unavailable(f"{len(rows) - heard} rows of the sample got no answer ({why}); {stored}")
        return standings


def _unheard(standing: Standing) -> bool:
    """Say whether asking a row again may well bring an answer: then it says nothing about the teacher."""
    return standing.state == "pending" or (standing.state == "failed" and standing.transient)
