"""The student's own answers while it learns: its own tokens, the same ones whenever the same step is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import LoRA
from pillm_hf.distilling.ownwords import OwnWords
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded, encode
from pillm_hf.training import students
from pillm_hf.training.loop import Loop

import pillm


@pytest.fixture
def rows(base: Path, pairs: list[tuple[str, str]]) -> list[Encoded]:
    examples = [
        pillm.Example(
            prompt=pillm.Prompt(id=str(number), messages=({"role": "user", "content": ask},)), answer=pillm.Answer(said)
        )
        for number, (ask, said) in enumerate(pairs[:6])
    ]
    return encode(examples, pillm.Contract(), load_chat(base), 256).rows


@pytest.fixture
def loop(base: Path) -> Loop:
    options = LoRA(base=str(base), rank=4, dtype="float32")
    model, dtype = students.build(options, base, lambda _: None)
    return Loop(model, options, dtype, load_chat(base).pad_id, pillm.Progress())


def words(base: Path, **changes: Any) -> OwnWords:
    chat = load_chat(base)
    plain = {"seed": 3, "temperature": 1.0, "max_new_tokens": 7, "max_length": 256}
    return OwnWords(**plain | changes, stop_ids=chat.stop_ids, pad_id=chat.pad_id)


def test_nearly_cold_it_says_what_the_student_ranks_first(base: Path, loop: Loop, rows: list[Encoded]) -> None:
    chat = load_chat(base)
    with loop.training(rows[0]):
        said = words(base, temperature=1e-3).answers([rows[:4], rows[4:]], loop.answering, 0)
        assert loop.model.training
    assert [len(batch) for batch in said] == [4, 2]
    for row, own in zip(rows, [*said[0], *said[1]], strict=True):
        assert own.ids[: own.start] == row.ids[: row.start]
        for place in range(own.start, own.end):
            with torch.no_grad():
                logits = loop.model(input_ids=torch.tensor([own.ids[:place]])).logits[0, -1]
            assert own.ids[place] == int(logits.argmax())
        assert own.end == len(own.ids)
        assert own.end - own.start == 7 or own.ids[-1] in chat.stop_ids


def test_what_is_drawn_depends_on_seed_and_step_alone(base: Path, loop: Loop, rows: list[Encoded]) -> None:
    def said(step: int, split: int = 3, **changes: Any) -> list[list[int]]:
        group = [rows[:split], rows[split:]]
        return [row.ids for batch in words(base, **changes).answers(group, loop.answering, step) for row in batch]

    with loop.training(rows[0]):
        state = torch.get_rng_state()
        one = said(5)
        assert torch.equal(torch.get_rng_state(), state)
        assert said(5) == said(5, split=2) == one
        assert said(6) != one
        assert said(5, seed=4) != one


def test_an_answer_ends_where_there_is_no_more_room(base: Path, loop: Loop, rows: list[Encoded]) -> None:
    full = min(row.start for row in rows)
    with loop.training(rows[0]):
        said = words(base, max_length=full + 2).answers([rows], loop.answering, 0)[0]
    for row, own in zip(rows, said, strict=True):
        if row.start < full + 2:
            assert len(own.ids) <= full + 2
        else:
            assert own == row
