"""The rows to label, as often as they are wanted: in memory where they came so, else read again from their file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from pillm.backends import Filter, Teacher
from pillm.errors import DataError
from pillm.records import JSONObject, Prompt, canonical, digest
from pillm.rows import prompt_to_row
from pillm.stages.rowschemas import check_schemas
from pillm.stages.rowstates import Row
from pillm.stages.settings import Labelling

KEPT = 10_000
"""So many rows are kept in memory; more are made again from the prompts each time they are wanted."""


class Worklist:
    """The rows of a labelling, filtered and keyed; iterate over it as often as needed.

    Raises ConfigError or DataError where the rows cannot be asked.
    """

    def __init__(self, prompts: Iterable[Prompt], teacher: Teacher, settings: Labelling) -> None:
        settings.check(teacher)
        self.settings, self._identity = settings, teacher.identity()
        self._prompts: Iterable[Prompt] = list(prompts) if isinstance(prompts, Iterator) else prompts
        self._rows: list[Row] | None = []
        self.size = 0
        self.hash = self._check()

    def __iter__(self) -> Iterator[Row]:
        return self._made() if self._rows is None else iter(self._rows)

    def unchanged(self) -> Iterator[Row]:
        """Yield the rows; raise DataError at the end where they are no longer what they were at first."""
        if self._rows is not None:
            yield from self._rows
            return
        said = hashlib.sha256()
        for row in self._made():
            said.update(_listed(row))
            yield row
        if said.hexdigest() != self.hash:
            raise DataError(
                "the prompts changed while they were being labelled. Every answer that came is stored; run the same command "
                "again, it asks only what is new."
            )

    def _made(self) -> Iterator[Row]:
        mine = (prompt for prompt in self._prompts if in_shard(prompt, self.settings.shard))
        for number, prompt in enumerate(mine):
            kept = apply_filters(prompt, self.settings.filters)
            if kept is None:
                yield Row(number=number, prompt=prompt, request=None, filtered=True)
            else:
                request = None if kept.given else self.settings.contract.request(kept, self._identity)
                yield Row(number=number, prompt=kept, request=request)

    def _check(self) -> str:
        """Count the rows, keep them while they are few, and return a hash of all that they say."""
        said, filtered = hashlib.sha256(), 0
        for row in self._made():
            if row.filtered:
                filtered += 1
            else:
                check_schemas([row.prompt])
            said.update(_listed(row))
            self.size += 1
            if self._rows is not None and len(self._rows) < KEPT:
                self._rows.append(row)
            else:
                self._rows = None
        if self.size == filtered:
            raise DataError("there are no rows to label. Check the prompts file and the filters.")
        return said.hexdigest()


def by_prefix(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows so that those which begin alike follow each other: a prompt cache, of a provider or our own, is then warm.

    Alike is all that comes before the last message: instructions, examples, tools. Otherwise the order stays; so many
    rows as are kept in memory are put in order at a time.
    """
    left = iter(rows)
    while some := list(islice(left, KEPT)):
        alike: dict[str, list[Row]] = {}
        for row in some:
            alike.setdefault(_prefix(row), []).append(row)
        yield from chain.from_iterable(alike.values())


def _prefix(row: Row) -> str:
    if row.request is None:
        return ""
    return canonical([list(row.request.messages[:-1]), list(row.prompt.tools)])


def _listed(row: Row) -> bytes:
    """Return all that a row says, on a line."""
    made = row.request.key if row.request else row.prompt.provenance or None
    listed = [row.prompt.id, "filtered"] if row.filtered else [prompt_to_row(row.prompt), row.prompt.given, made]
    try:
        return canonical(listed).encode() + b"\n"
    except UnicodeEncodeError as error:  # no file holds such a row: it was made in Python
        raise DataError(f"row {row.prompt.id!r} holds half of a surrogate pair, which cannot be sent or written") from error


def shard_of(prompt: Prompt, parts: int) -> int:
    """Return which of so many parts a prompt belongs to, from 1: by what it says, so that equal questions stay together."""
    said: JSONObject = {"messages": list(prompt.messages), "tools": list(prompt.tools)}
    return int(digest(said)[:16], 16) % parts + 1


def in_shard(prompt: Prompt, shard: tuple[int, int] | None) -> bool:
    """Say whether a prompt belongs to part i of n."""
    return shard is None or shard_of(prompt, shard[1]) == shard[0]


def apply_filters(prompt: Prompt, filters: Sequence[Filter]) -> Prompt | None:
    """Return a prompt as the filters leave it, or None where one leaves it out."""
    kept: Prompt | None = prompt
    for each in filters:
        kept = each.apply(kept) if kept is not None else None
    return kept
