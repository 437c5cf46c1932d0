"""The student's own answers to its rows' prompts, drawn while it learns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from pillm_hf.answering.choosing import Sampling, draws_for
from pillm_hf.answering.sequences import Sequence
from pillm_hf.rows.text import Encoded

Answering: TypeAlias = Callable[[], AbstractContextManager[Any]]
"""Gives the student as it answers, while the context lasts."""


@dataclass(frozen=True, slots=True)
class OwnWords:
    """How the student answers: the seed of what it draws, what ends an answer, and how long one may be."""

    seed: int
    temperature: float
    max_new_tokens: int
    max_length: int
    stop_ids: frozenset[int]
    pad_id: int

    def answers(self, group: list[list[Encoded]], answering: Answering, step: int) -> list[list[Encoded]]:
        """Return each batch's rows with the student's own answers in the place of the labels.

        What is drawn depends on the seed, the row and the step; rows without room for a token are as they were.
        """
        from pillm_hf.answering.decoding import Decoder
        from pillm_hf.answering.padded import Padded

        sampling = Sampling(max_new_tokens=self.max_new_tokens, temperature=self.temperature, seed=self.seed)
        asked = [
            self._asked(row, (place, at), sampling, step) for place, rows in enumerate(group) for at, row in enumerate(rows)
        ]
        waiting = [sequence for sequence in asked if sequence.limit > 0]
        said = [list(rows) for rows in group]
        width = max(len(rows) for rows in group)
        given = iter([waiting])
        with answering() as model:
            decoder = Decoder(Padded(model, self.pad_id), stop_ids=self.stop_ids, sampling=sampling, width=width)
            for done in decoder.run(lambda _: next(given, None)):
                for sequence in done:
                    place, at = sequence.owner
                    said[place][at] = _with_answer(group[place][at], sequence)
        return said

    def _asked(self, row: Encoded, owner: tuple[int, int], sampling: Sampling, step: int) -> Sequence:
        limit = min(self.max_new_tokens, self.max_length - row.start)
        return Sequence(row.ids[: row.start], limit, draws_for(row.id, step, sampling, limit + 1), owner=owner)


def _with_answer(row: Encoded, sequence: Sequence) -> Encoded:
    """Return a row with the answer that was drawn; one that memory was too small for keeps its label."""
    if not sequence.token_ids:
        return row
    ids = [*sequence.prompt_ids, *sequence.token_ids]
    return replace(row, ids=ids, end=len(ids))
