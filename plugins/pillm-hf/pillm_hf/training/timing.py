"""How long a training will take, told by a few of its steps, taken on a copy of the student."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm_hf.losses.batches import collate, epoch
from pillm_hf.options.finetuning import FineTuning
from pillm_hf.rows.text import Encoded

if TYPE_CHECKING:
    from pillm_hf.training.loop import Loop

_PATIENCE = 10.0  # seconds that a timed step may take, as far as a row alone tells
_TIMED = 3  # steps, of short, middling and long rows


def seconds(options: FineTuning, rows: list[Encoded], folder: Path, *, checkpointing: bool) -> float:
    """Return how long all steps will take, by taking three of them with short, middling and long rows on a copy.

    Of a step that would take long only as many rows are taken as some seconds allow.
    """
    import random

    from pillm_hf.training.loop import Loop
    from pillm_hf.training.students import build

    model, dtype = build(options, folder, lambda _: None)
    loop = Loop(model, options, dtype, 0, pillm.Progress())
    loop.checkpointing = checkpointing
    sizes = options.per_device_train_batch_size, options.gradient_accumulation_steps
    order = random.Random(0)  # noqa: S311 - an order, not a secret
    groups = sorted(epoch(rows, *sizes, order), key=_cells)
    places = sorted({len(groups) * (2 * number + 1) // (2 * _TIMED) for number in range(_TIMED)})
    spent, cells = 0.0, 0
    with loop.training(rows[0]):
        loop.step([[rows[0]]])  # the first one compiles and allocates
        rate = _taken(loop, [[rows[0]]]) / _cells([[rows[0]]])
        loop.step(_part(groups[places[0]], rate))
        for place in places:
            group = _part(groups[place], rate)
            spent += _taken(loop, group)
            cells += _cells(group)
    return spent / cells * sum(_cells(group) for group in groups) * options.num_train_epochs


def _taken(loop: Loop, group: list[list[Encoded]]) -> float:
    begun = time.monotonic()
    loop.step(group)
    return time.monotonic() - begun


def _part(group: list[list[Encoded]], rate: float) -> list[list[Encoded]]:
    """Return what of a group is worth timing, at so many seconds a place: all of it, or its first batch, or rows of that."""
    if _cells(group) * rate <= _PATIENCE:
        return group
    batch = group[0]
    fewer = max(1, int(len(batch) * _PATIENCE / max(_cells([batch]) * rate, 1e-9)))
    return [batch[:fewer]]


def _cells(group: list[list[Encoded]]) -> int:
    """Return the places of a step's batches, padding counted."""
    return sum(collate(part, 0).ids.numel() for part in group)
