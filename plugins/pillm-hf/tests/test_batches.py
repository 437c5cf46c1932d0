"""Batches: which rows meet, and that their split into micro-batches changes nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from pillm_hf.losses.batches import IGNORED, collate, epoch, steps_per_epoch
from pillm_hf.losses.loss import summed_loss
from pillm_hf.models.loading import load_model
from pillm_hf.rows.text import Encoded


def row(number: int, length: int, answer: int = 3) -> Encoded:
    ids = [3 + (number * 31 + place * 7) % 200 for place in range(length)]
    return Encoded(str(number), (), "", ids, length - answer, length)


ROWS = [row(number, 5 + number * 5 % 37, 1 + number % 4) for number in range(50)]


def test_every_row_is_seen_once_an_epoch() -> None:
    groups = list(epoch(ROWS, 4, 3, random.Random(0)))
    assert sorted(int(row.id) for group in groups for part in group for row in part) == list(range(50))
    assert len(groups) == steps_per_epoch(50, 4, 3) == 5


def test_the_same_rows_share_a_step_however_it_is_split() -> None:
    def steps(batch: int, accumulation: int) -> list[list[str]]:
        groups = epoch(ROWS, batch, accumulation, random.Random(7))
        return [[row.id for part in group for row in part] for group in groups]

    assert steps(8, 1) == steps(1, 8) == steps(4, 2)


def test_labels_are_the_answers_and_stand_one_place_before_them() -> None:
    batch = collate([row(1, 40), row(2, 21, 5)], 0)
    assert batch.ids.shape == (2, 48)
    assert batch.columns[-1] == 47
    assert (batch.labels != IGNORED).sum() == batch.answer_tokens == 8
    first, column = (batch.labels[1] != IGNORED).nonzero()[0, 0], batch.columns
    assert batch.labels[1, first] == batch.ids[1, column[first] + 1] == row(2, 21, 5).ids[16]


def test_eight_rows_at_once_have_the_gradient_of_eight_rows_one_by_one(base: Path) -> None:
    model = load_model(base, torch.float32)
    rows = ROWS[:8]
    total = sum(row.end - row.start for row in rows)

    def gradient(size: int) -> torch.Tensor:
        model.zero_grad()
        for begin in range(0, 8, size):
            (summed_loss(model, collate(rows[begin : begin + size], 0)) / total).backward()
        return model.model.layers[0].mlp.up_proj.weight.grad.clone()

    torch.testing.assert_close(gradient(8), gradient(1), rtol=1e-4, atol=1e-6)


def test_the_loss_is_that_of_transformers_on_the_same_labels(base: Path) -> None:
    model = load_model(base, torch.float32)
    one = ROWS[9]
    labels = torch.full((1, len(one.ids)), IGNORED)
    labels[0, one.start : one.end] = torch.tensor(one.ids[one.start : one.end])
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([one.ids]), labels=labels).loss
        ours = summed_loss(model, collate([one], 0)) / (one.end - one.start)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-4)
