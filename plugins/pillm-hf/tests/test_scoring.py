"""A teacher in memory says at each learnt place what it would say if it were asked in its own way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf.distilling.scoring import Scorer, Sizes, joined, load_scorer, pieces, targets_of
from pillm_hf.distilling.targets import Targets
from pillm_hf.losses.divergences import with_rest
from pillm_hf.models.loading import load_model
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded, encode

import pillm


@pytest.fixture
def rows(base: Path, pairs: list[tuple[str, str]]) -> list[Encoded]:
    examples = [
        pillm.Example(
            prompt=pillm.Prompt(id=str(number), messages=({"role": "user", "content": ask},)), answer=pillm.Answer(said)
        )
        for number, (ask, said) in enumerate(pairs[:5])
    ]
    return encode(examples, pillm.Contract(), load_chat(base), 256).rows


def said_by(model: Any, row: Encoded) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([row.ids])).logits[0, row.start - 1 : row.end - 1]


def scorer_of(folder: Path, base: Path, rows: list[Encoded]) -> Scorer:
    return load_scorer((str(folder), None), (load_chat(base), rows[0]), (torch.float32, None))


def test_it_says_what_the_model_says_at_every_learnt_place(base: Path, make: Any, rows: Any, tmp_path: Path) -> None:
    teacher = make(tmp_path / "teacher", seed=4)
    model, count = load_model(teacher, torch.float32), sum(row.end - row.start for row in rows)
    expected = torch.cat([said_by(model, row) for row in rows])
    with scorer_of(teacher, base, rows) as scorer:
        logits = scorer.score([scorer.seen(row) for row in rows])
        torch.testing.assert_close(logits(0, count), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(logits(7, 3), expected[7:10], rtol=1e-4, atol=1e-4)
        assert torch.cat(list(pieces(logits, count, scorer.columns))).shape == expected.shape
    assert not any(part.requires_grad for part in scorer._model.parameters())


def test_a_teacher_with_another_template_is_asked_in_its_own(
    base: Path, make: Callable[..., Path], unmarked: str, rows: list[Encoded], tmp_path: Path
) -> None:
    teacher = make(tmp_path / "teacher", template=unmarked.replace("<|im_start|>' + message['role']", "<|im_start|>bot'"))
    with scorer_of(base, base, rows) as scorer:
        assert [scorer.seen(row) for row in rows] == rows
    with scorer_of(teacher, base, rows) as scorer:
        for row in rows:
            seen = scorer.seen(row)
            assert seen.ids[seen.start :] == row.ids[row.start : row.end]
            assert (
                seen.ids[: seen.start] == scorer.chat.encode([scorer.chat.prompt(row.messages[:-1])])[0] != row.ids[: row.start]
            )


def test_targets_are_the_best_outcomes_and_draws_from_the_rest(base: Path, rows: list[Encoded]) -> None:
    model = load_model(base, torch.float32)
    count = rows[0].end - rows[0].start
    with scorer_of(base, base, rows) as scorer:
        generator = torch.Generator().manual_seed(0)
        made = targets_of(scorer.score(rows[:1]), count, Sizes(400, 320), (5, 7), generator)
    best = said_by(model, rows[0]).log_softmax(-1).topk(5)
    torch.testing.assert_close(made.ids, best.indices)
    torch.testing.assert_close(made.logprobs, with_rest(best.values), rtol=1e-4, atol=1e-4)
    assert (made.counts.sum(-1) == 7).all()
    assert int(made.drawn.max()) < 320  # never one of the columns that only pad
    for place, drawn, counts in zip(made.ids, made.drawn, made.counts, strict=True):
        assert not set(place.tolist()) & set(drawn[counts > 0].tolist())


def test_parts_of_different_widths_are_joined() -> None:
    def part(n: int, width: int) -> Targets:
        return Targets(torch.ones(n, 2).long(), torch.ones(n, 3), torch.ones(n, width).long(), torch.ones(n, width).long())

    whole = joined([part(2, 1), part(3, 4), part(1, 0)])
    assert whole.drawn.shape == whole.counts.shape == (6, 4)
    assert whole.counts.sum().item() == 2 + 12
    assert whole.part(2, 5).counts.tolist() == [[1] * 4] * 3
