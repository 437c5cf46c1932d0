"""What labelling stored of answers beside their text, token ids and log-probabilities, for trainers that learn from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pillm.answers import AnswerStore
from pillm.backends import Rows
from pillm.records import Example
from pillm.stages.labelled import STORE


def store_of(examples: Iterable[Example], named: Path | None) -> Path | None:
    """Return the answer store that examples come from: the one named, else the one beside their file; None without any."""
    beside = examples.path.parent / STORE if isinstance(examples, Rows) else None
    path = named or beside
    return path if path is not None and path.is_file() else None


class StoredAnswers(Iterable[Example]):
    """Rows with their answers as an answer store holds them; one whose answer is not there keeps the row's own."""

    def __init__(self, path: Path, rows: Iterable[Example]) -> None:
        self._path, self._rows = path, rows

    def __iter__(self) -> Iterator[Example]:
        with AnswerStore(self._path, read_only=True) as store:
            for row in self._rows:
                answer = store.answer(row.key) if row.key else None
                yield row if answer is None else replace(row, answer=answer)


class HeldAnswers(Iterable[Example]):
    """Examples in memory, without their references."""

    def __init__(self, rows: Sequence[Example]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Example]:
        for row in self._rows:
            yield replace(row, prompt=replace(row.prompt, reference=None, given=None))


def stored_digest(path: Path | None, rows: Iterable[Example]) -> str | None:
    """Return a hash of all that is stored of the rows' answers, read from a store or from themselves; None of nothing."""
    said, found = hashlib.sha256(), False
    if path is not None:
        with AnswerStore(path, read_only=True) as store:
            for row in rows:
                text = store.answer_text(row.key) if row.key else None
                found = found or text is not None
                said.update(f"{row.key} {text}\n".encode())
    else:
        for row in rows:
            answer = row.answer
            found = found or answer.logprobs is not None
            said.update(repr((row.prompt.id, answer.token_ids, answer.logprobs, answer.tokenizer_hash)).encode())
    return said.hexdigest() if found else None
