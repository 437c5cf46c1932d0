"""What is learnt beside the labels: the same loss and gradient as torch finds step by step, in the logits' own place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf.distilling.divergences import (
    Divergence,
    dense_divergence,
    sampled_cross_entropy,
    sparse_losses,
    with_rest,
)
from pillm_hf.distilling.lessons import Draws, Lesson, Outcomes, Ranks, Whole
from pillm_hf.distilling.uld import sparse_uld_losses
from pillm_hf.models.loading import load_model
from pillm_hf.rows.text import Encoded
from pillm_hf.training import head as head_module
from pillm_hf.training.batches import Batch, collate
from pillm_hf.training.head import split_off
from pillm_hf.training.loss import summed_loss
from torch.nn.functional import cross_entropy

N, SIZE, K = 17, 320, 8
HOW = [
    Divergence(kind=kind, temperature=temperature, beta=0.3)
    for kind in ("forward_kl", "reverse_kl", "jsd")
    for temperature in (1.0, 2.5)
]


class Given:
    """Random logits of both sides, labels of which some are among the k ids, and weights of which one is 0."""

    def __init__(self, seed: int = 0, weight: float = 0.7) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(N, SIZE, generator=generator) * 3
        self.teacher = torch.randn(N, SIZE, generator=generator) * 3
        self.ids = self.teacher.topk(K).indices
        self.logprobs = with_rest(self.teacher.log_softmax(-1).gather(1, self.ids))
        self.labels = torch.randint(0, SIZE, (N,), generator=generator)
        self.labels[:5] = self.ids[:5, 2]
        self.weights = torch.full((N,), weight)
        self.weights[3] = 0.0

    def expected(self, losses: Any) -> tuple[float, torch.Tensor]:
        """Return loss and gradient of a divergence [n] mixed with the labels' cross-entropy, as torch finds them."""
        logits = self.logits.clone().requires_grad_()
        of_labels = cross_entropy(logits, self.labels, reduction="none")
        loss = (self.weights * losses(logits) + (1 - self.weights) * of_labels).sum()
        loss.backward()
        assert logits.grad is not None
        return float(loss.detach()), logits.grad

    def learnt(self, lesson: Lesson, rows: int = 5) -> tuple[float, torch.Tensor]:
        """Return loss and gradient as a lesson finds them, so many rows at a time."""
        logits, loss = self.logits.clone(), 0.0
        for begin in range(0, N, rows):
            lesson.open(begin, min(rows, N - begin))
            loss += float(lesson.learn(logits[begin : begin + rows], self.labels[begin : begin + rows], begin, True))
        return loss, logits


def same(one: tuple[float, torch.Tensor], other: tuple[float, torch.Tensor]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    torch.testing.assert_close(one[1], other[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("weight", [0.0, 0.7, 1.0])
def test_outcomes_and_labels_have_the_gradient_that_torch_finds(how: Divergence, weight: float) -> None:
    given = Given(weight=weight)
    wanted = given.expected(lambda logits: sparse_losses(logits, given.ids, given.logprobs, given.labels, how)[0])
    same(given.learnt(Outcomes(given.weights, given.ids, given.logprobs, how)), wanted)


@pytest.mark.parametrize("how", HOW)
def test_whole_distributions_have_the_gradient_that_torch_finds(how: Divergence) -> None:
    given = Given()

    def each(logits: torch.Tensor) -> torch.Tensor:
        return torch.stack([dense_divergence(logits[at : at + 1], given.teacher[at : at + 1], how) for at in range(N)])

    lesson = Whole(given.weights, lambda begin, count: given.teacher[begin : begin + count], (SIZE, SIZE), how)
    same(given.learnt(lesson), given.expected(each))


def test_draws_have_the_gradient_that_torch_finds() -> None:
    given = Given()
    shares = torch.rand(N, 6, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(0, SIZE, (N, 6), generator=torch.Generator().manual_seed(2))  # a token may be drawn twice

    def each(logits: torch.Tensor) -> torch.Tensor:
        parts = [sampled_cross_entropy(logits[at : at + 1], ids[at : at + 1], shares[at : at + 1]) for at in range(N)]
        return torch.stack(parts)

    same(given.learnt(Draws(given.weights, ids, shares)), given.expected(each))


def test_ranks_have_the_gradient_that_torch_finds() -> None:
    given = Given()
    logprobs = with_rest(given.teacher.log_softmax(-1).topk(K).values)
    same(
        given.learnt(Ranks(given.weights, logprobs)),
        given.expected(lambda logits: sparse_uld_losses(logits, logprobs)),
    )


def test_a_place_without_a_target_is_learnt_from_its_label_alone() -> None:
    given = Given(weight=1.0)
    lesson = Outcomes(given.weights, given.ids, given.logprobs, HOW[0])
    _, gradient = given.learnt(lesson)
    wanted = given.logits[3].softmax(-1)
    wanted[given.labels[3]] -= 1
    torch.testing.assert_close(gradient[3], wanted)
    told = lesson.told()
    assert told["divergence"][1] == N - 1
    assert told["cross_entropy"] == (
        pytest.approx(float(cross_entropy(given.logits, given.labels, reduction="sum")), rel=1e-5), N,
    )  # fmt: skip
    assert lesson.told()["divergence"][0] == 0.0


def test_what_is_certain_and_what_is_impossible_make_no_nonsense() -> None:
    given = Given()
    given.logits[0] = -1e4
    given.logits[0, given.ids[0, 0]] = 1e4
    given.logprobs[1] = with_rest(torch.tensor([[0.0, *[-1e4] * (K - 1)]]))[0]
    for how in HOW:
        loss, gradient = given.learnt(Outcomes(given.weights, given.ids, given.logprobs, how))
        assert torch.isfinite(gradient).all()
        assert abs(loss) < 1e5


def row_batch(lesson: Any = None) -> Batch:
    from dataclasses import replace

    rows = []
    for number, (length, answer) in enumerate(((9, 3), (30, 11), (17, 1))):
        ids = [3 + (number * 31 + place * 7) % 200 for place in range(length)]
        rows.append(Encoded(str(number), (), "", ids, length - answer, length))
    return replace(collate(rows, 0), lesson=lesson)


def lesson_of(weight: float) -> Outcomes:
    generator = torch.Generator().manual_seed(4)
    teacher = (torch.randn(15, 300, generator=generator) * 3).log_softmax(-1).topk(K)
    return Outcomes(torch.full((15,), weight), teacher.indices, with_rest(teacher.values), HOW[0])


@pytest.mark.parametrize("block", [1, 3 * 320, 2**22])
@pytest.mark.parametrize("piece_bytes", [4 * 320 * 4, 2**30])
def test_the_head_learns_it_by_pieces_as_the_plain_model_does(
    base: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int, block: int
) -> None:
    monkeypatch.setattr(head_module, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(head_module, "_BLOCK", block)
    model = load_model(base, torch.float32)
    expected = summed_loss(model, row_batch(lesson_of(0.6)))
    expected.mul(0.25).backward()
    wanted = {name: part.grad.clone() for name, part in model.named_parameters()}
    model.zero_grad()
    with split_off(model, torch.float32, row_batch()) as head:
        assert head is not None
        loss = head.summed_loss(model, row_batch(lesson_of(0.6)))
        loss.mul(0.25).backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for name, part in model.named_parameters():
        torch.testing.assert_close(part.grad, wanted[name], rtol=1e-4, atol=1e-5)


def test_with_nothing_of_the_divergence_it_is_the_labels_loss(base: Path) -> None:
    model = load_model(base, torch.float32)
    plain = summed_loss(model, row_batch())
    torch.testing.assert_close(summed_loss(model, row_batch(lesson_of(0.0))), plain, rtol=1e-6, atol=1e-5)
    with split_off(model, torch.float32, row_batch()) as head:
        assert head is not None
        torch.testing.assert_close(head.summed_loss(model, row_batch(lesson_of(0.0))), plain, rtol=1e-6, atol=1e-5)
        learnt = head.summed_loss(model, row_batch(lesson_of(1.0)))
        assert abs(float(learnt.detach()) / float(plain.detach()) - 1) > 1e-2


def test_the_head_is_back_while_a_student_answers(base: Path) -> None:
    model = load_model(base, torch.float32)
    ids = row_batch().ids
    before = model(input_ids=ids).logits
    with split_off(model, torch.float32, row_batch()) as head:
        assert head is not None
        with head.back():
            torch.testing.assert_close(model(input_ids=ids).logits, before)
        assert model(input_ids=ids).logits.shape[-1] == model.config.hidden_size
