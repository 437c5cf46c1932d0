"""What is learnt beside the labels: the same loss and gradient as torch finds step by step, in the logits' own place."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_hf.losses.divergences import Divergence, draw, with_rest
from pillm_hf.losses.lessons import Draws, Outcomes
from pillm_hf_givens import (
    AT_ONE,
    HOW,
    SEEDS,
    SIZE,
    SPREADS,
    Given,
    K,
    N,
    best,
    learnt,
    logits_of,
    ones,
    outcomes,
    plain_ranks,
    ranks,
    sparse,
    whole,
)
from torch.nn.functional import cross_entropy, pad

LESSONS = [(name, how) for how in HOW for name in ("outcomes", "whole")] + [("draws", HOW[0]), ("ranks", HOW[0])]


@pytest.mark.parametrize(("name", "how"), LESSONS)
@pytest.mark.parametrize("weight", [0.0, 0.7, 1.0])
def test_loss_and_gradient_are_those_that_torch_finds(name: str, how: Divergence, weight: float) -> None:
    given = Given(weight)
    lesson, losses = given.each(how)[name]
    logits = given.logits.clone().requires_grad_()
    wanted = given.expected(logits, losses)
    wanted.backward()
    for rows in (5, N):
        loss, gradient = learnt(lesson, given.logits, given.labels, rows)
        assert loss == pytest.approx(float(wanted.detach()), rel=1e-9)
        torch.testing.assert_close(gradient, logits.grad, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(("name", "how"), LESSONS)
def test_gradients_are_the_slopes(name: str, how: Divergence) -> None:
    given, step = Given(), 1e-5
    lesson, _ = given.each(how)[name]
    _, gradient = learnt(lesson, given.logits, given.labels)
    for place in range(0, SIZE, 3):
        moved = torch.zeros_like(given.logits)
        moved[:, place] = step
        up, down = (learnt(lesson, given.logits + sign * moved, given.labels)[0] for sign in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx(float(gradient[:, place].sum()), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("name", "how"), LESSONS)
def test_a_loss_that_is_only_measured_is_the_same(name: str, how: Divergence) -> None:
    given = Given()
    lesson, _ = given.each(how)[name]
    wanted, _ = learnt(lesson, given.logits, given.labels)
    lesson.open(0, N)
    assert float(lesson.learn(given.logits.clone(), given.labels, 0, False)) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("name", "how"), LESSONS)
def test_float32_learns_what_float64_does(name: str, how: Divergence) -> None:
    found = []
    for dtype in (torch.float64, torch.float32):
        given = Given(dtype=dtype)
        found.append(learnt(given.each(how)[name][0], given.logits, given.labels))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    torch.testing.assert_close(found[1][1].double(), found[0][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", HOW)
@settings(max_examples=25, deadline=None)
@given(SEEDS, SEEDS, SPREADS, st.integers(1, 10))
def test_a_divergence_is_never_negative_and_none_is_left_where_both_are_equal(
    how: Divergence, one: int, other: int, spread: float, k: int
) -> None:
    student, teacher = logits_of(one, spread=spread), logits_of(other, spread=spread)
    ids = teacher.topk(k).indices
    assert whole(student, teacher, how)[0] >= -1e-12
    assert abs(whole(teacher + 3, teacher, how)[0]) < 1e-12
    assert sparse(student, teacher, ids, how)[0] >= -1e-12
    assert abs(sparse(teacher + 3, teacher, ids, how)[0]) < 1e-12


@pytest.mark.parametrize("how", AT_ONE)
@settings(max_examples=40, deadline=None)
@given(SEEDS, SEEDS, SPREADS, st.integers(1, 9))
def test_fewer_outcomes_never_diverge_more(how: Divergence, one: int, other: int, spread: float, k: int) -> None:
    student, teacher = logits_of(one, spread=spread), logits_of(other, spread=spread)
    few, more = (sparse(student, teacher, teacher.topk(count).indices, how)[0] for count in (k, k + 1))
    assert few <= more * (1 + 1e-9) + 1e-9
    assert more <= whole(student, teacher, how)[0] * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("how", HOW)
@settings(max_examples=15, deadline=None)
@given(SEEDS, SEEDS)
def test_all_ids_of_the_vocabulary_say_as_much_as_the_logits(how: Divergence, one: int, other: int) -> None:
    student, teacher = logits_of(one), logits_of(other)
    ids = torch.argsort(logits_of(one + other), dim=-1)
    mine, theirs = sparse(student, teacher, ids, how), whole(student, teacher, how)
    assert mine[0] == pytest.approx(theirs[0])
    torch.testing.assert_close(mine[1], theirs[1])


@pytest.mark.parametrize("exact", [0, 3])
def test_the_mean_over_draws_is_the_gradient_of_whole_distributions(exact: int) -> None:
    generator, trials, draws = torch.Generator().manual_seed(4), 40_000, 5
    student, teacher = logits_of(13, 1, 8), logits_of(14, 1, 8)
    held = teacher.log_softmax(-1).topk(exact)
    among = held.indices.expand(trials, -1)
    drawn, counts = draw(teacher.expand(trials, -1), draws, exact=among if exact else None, generator=generator)
    rest = 1 - held.values.exp().sum(-1, keepdim=True)
    ids = torch.cat([among, drawn], -1)
    shares = torch.cat([held.values.exp().expand(trials, -1), rest * counts / draws], -1)
    every = student.repeat(trials, 1)
    loss, gradient = learnt(Draws(ones(every), ids, shares), every, rows=trials)
    wanted, slope = whole(student, teacher, HOW[0])
    noise = float(rest.sum()) / math.sqrt(trials * draws)
    assert (gradient.mean(0) - slope[0]).abs().max() < 4 * noise
    entropy = -(teacher.softmax(-1) * teacher.log_softmax(-1)).sum()
    assert loss / trials == pytest.approx(wanted + float(entropy), rel=0.02)


def test_the_best_ids_alone_are_a_biased_teacher() -> None:
    student, teacher = logits_of(13, 1, 8), logits_of(14, 1, 8)
    held = teacher.softmax(-1).topk(3)
    _, cut = learnt(Draws(ones(student), held.indices, held.values / held.values.sum(-1, keepdim=True)), student)
    assert (cut - whole(student, teacher, HOW[0])[1]).abs().max() > 0.01


@settings(max_examples=60, deadline=None)
@given(SEEDS, SEEDS, st.integers(1, 6))
def test_the_best_ranks_alone_never_say_more_than_all(one: int, other: int, k: int) -> None:
    student, teacher = logits_of(one, size=8), logits_of(other, size=7)
    all_of_them = float(plain_ranks(student, teacher).sum())
    loss, _ = ranks(student, best(teacher, k))
    assert 0 <= loss <= all_of_them + 1e-12 <= 6 + 1e-11
    assert ranks(student, best(student.flip(-1), k))[0] < 1e-12
    full = pad(teacher.log_softmax(-1).sort(-1, descending=True).values, (0, 1), value=-torch.inf)
    assert ranks(student, full)[0] == pytest.approx(all_of_them)


def test_learning_by_ranks_brings_the_ranks_together() -> None:
    student, teacher = logits_of(3, size=9).requires_grad_(), best(logits_of(4, size=7), 6)
    before, _ = ranks(student.detach(), teacher)
    optimizer = torch.optim.Adam([student], lr=0.05)
    for _ in range(150):
        student.grad = ranks(student.detach(), teacher)[1]
        optimizer.step()
    assert ranks(student.detach(), teacher)[0] < before / 5


def test_a_peaked_rest_costs_in_float32_what_it_costs_in_float64() -> None:
    teacher, student = torch.zeros(1, 1000).double(), torch.zeros(1, 1000).double()
    teacher[0, 0], student[0, 0] = 25.0, 18.0
    ids = torch.tensor([[0]])
    logprobs = outcomes(teacher, ids)
    exact = learnt(Outcomes(ones(student), ids, logprobs, HOW[0]), student)[0]
    coarse = learnt(Outcomes(ones(student).float(), ids, logprobs.float(), HOW[0]), student.float())[0]
    assert coarse == pytest.approx(exact, abs=2e-7)  # one step of float32 at probability 1


@pytest.mark.parametrize("how", [*HOW, Divergence(temperature=10.0)])
@pytest.mark.parametrize("peak", [20.0, 100.0, 1e4, torch.inf])
def test_float32_stays_finite_however_little_the_rest_holds(how: Divergence, peak: float) -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, -1.0]]) - torch.tensor([[0.0, peak, peak, peak]])
    logprobs = with_rest(torch.tensor([[-2.0]]))
    loss, gradient = learnt(Outcomes(torch.ones(1), torch.tensor([[0]]), logprobs, how), logits)
    assert math.isfinite(loss)
    assert gradient.isfinite().all()


def test_nothing_to_learn_costs_nothing() -> None:
    lesson = Outcomes(torch.zeros(0), torch.zeros((0, 2), dtype=torch.int64), torch.zeros(0, 3), HOW[0])
    loss = lesson.learn(torch.zeros(0, 11), torch.zeros(0, dtype=torch.int64), 0, True)
    assert float(loss) == 0


def test_a_place_without_a_target_is_learnt_from_its_label_alone() -> None:
    given = Given(1.0, torch.float32)
    lesson = Outcomes(given.weights, given.ids, given.logprobs, HOW[0])
    _, gradient = learnt(lesson, given.logits, given.labels)
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
    given = Given(0.7, torch.float32)
    given.logits[0] = -1e4
    given.logits[0, given.ids[0, 0]] = 1e4
    given.logprobs[1] = with_rest(torch.tensor([[0.0, *[-1e4] * (K - 1)]]))[0]
    for how in HOW:
        loss, gradient = learnt(Outcomes(given.weights, given.ids, given.logprobs, how), given.logits, given.labels)
        assert torch.isfinite(gradient).all()
        assert abs(loss) < 1e5
