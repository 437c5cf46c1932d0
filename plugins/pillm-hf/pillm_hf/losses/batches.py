"""Group rows of similar length into batches, so that little is computed on padding."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pillm_hf.rows.text import Encoded

if TYPE_CHECKING:
    import torch

    from pillm_hf.losses.lessons import Lesson

IGNORED = -100
_POOL = 64  # optimiser steps whose rows are sorted by length together: alike within a batch, mixed between them
_STRIDE = 16  # widths are multiples of this: a CPU compiles a kernel for each shape of matrix that it meets


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows; `columns` hold every place whose prediction is learnt from.

    There is no attention mask: a place looks to its left alone, so that nothing learnt ever sees what was padded.
    """

    ids: torch.Tensor  # [rows, width]
    columns: torch.Tensor  # [kept]
    labels: torch.Tensor  # [rows, kept]: the token that follows each kept place, or IGNORED
    answer_tokens: int
    tokens: int
    lesson: Lesson | None = None
    """What is learnt beside the labels, at the places that have one, row by row; None: the labels alone."""


def epoch(rows: Sequence[Encoded], batch_size: int, accumulation: int, rng: random.Random) -> Iterator[list[list[Encoded]]]:
    """Yield for each optimiser step its rows as micro-batches; which rows share a step depends on their product only."""
    step = batch_size * accumulation
    order = list(rows)
    rng.shuffle(order)
    groups = []
    for begin in range(0, len(order), step * _POOL):
        pool = sorted(order[begin : begin + step * _POOL], key=lambda row: len(row.ids))
        groups += [pool[place : place + step] for place in range(0, len(pool), step)]
    rng.shuffle(groups)
    for group in groups:
        yield [group[place : place + batch_size] for place in range(0, len(group), batch_size)]


def steps_per_epoch(rows: int, batch_size: int, accumulation: int) -> int:
    """Return the number of optimiser steps that `epoch` yields."""
    return -(-rows // (batch_size * accumulation))


def collate(rows: Sequence[Encoded], pad_id: int) -> Batch:
    """Return rows as one batch, padded on the right to a multiple of 16 that holds the longest."""
    import torch

    width = -(-max(len(row.ids) for row in rows) // _STRIDE) * _STRIDE
    ids = torch.full((len(rows), width), pad_id)
    labels = torch.full((len(rows), width), IGNORED)
    for index, row in enumerate(rows):
        place = torch.tensor(row.ids)
        ids[index, : len(row.ids)] = place
        labels[index, row.start - 1 : row.end - 1] = place[row.start : row.end]  # each place predicts the next token
    columns = torch.arange((min(row.start for row in rows) - 1) // _STRIDE * _STRIDE, width)
    return Batch(
        ids=ids,
        columns=columns,
        labels=labels[:, columns],
        answer_tokens=sum(row.end - row.start for row in rows),
        tokens=sum(len(row.ids) for row in rows),
    )
