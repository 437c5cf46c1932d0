"""Divergences: what the field means by them, whatever the teacher is known by."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_hf.distilling.divergences import (
    Divergence,
    align_vocabulary,
    dense_divergence,
    draw,
    sampled_cross_entropy,
    sparse_divergence,
    sparse_losses,
    with_rest,
)
from torch.nn.functional import cross_entropy, kl_div

import pillm

KINDS = [
    Divergence(kind=kind, temperature=temperature, beta=beta)  # type: ignore[arg-type]
    for kind, beta in (("forward_kl", 0.5), ("reverse_kl", 0.5), ("jsd", 0.5), ("jsd", 0.1))
    for temperature in (1.0, 2.5)
]
AT_ONE = [how for how in KINDS if how.temperature == 1]
SEEDS = st.integers(0, 9999)
SPREADS = st.floats(0.1, 20)


def logits_of(seed: int, rows: int = 3, size: int = 11, spread: float = 2.0) -> torch.Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread


def top(teacher: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids [n, k] and log-probabilities [n, k + 1] as a cache of the teacher's best ids has them."""
    every = teacher.log_softmax(-1)
    values, ids = every.topk(k)
    return ids, torch.cat([values, every.scatter(1, ids, -torch.inf).logsumexp(-1, keepdim=True)], -1)


def textbook(p: torch.Tensor, q: torch.Tensor, how: Divergence) -> torch.Tensor:
    """Return a divergence summed over rows, of probabilities, as papers write it."""

    def kl(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return kl_div(other.log(), one, reduction="sum")

    if how.kind == "jsd":
        mixed = how.beta * p + (1 - how.beta) * q
        return how.beta * kl(p, mixed) + (1 - how.beta) * kl(q, mixed)
    return kl(p, q) if how.kind == "forward_kl" else kl(q, p)


@pytest.mark.parametrize("how", KINDS)
def test_the_dense_divergence_is_the_textbooks_times_the_squared_temperature(how: Divergence) -> None:
    student, teacher = logits_of(1), logits_of(2)
    p, q = (teacher / how.temperature).softmax(-1), (student / how.temperature).softmax(-1)
    torch.testing.assert_close(dense_divergence(student, teacher, how), textbook(p, q, how) * how.temperature**2)


@pytest.mark.parametrize("how", KINDS)
@settings(max_examples=25, deadline=None)
@given(SEEDS, SEEDS, SPREADS, st.integers(1, 10))
def test_a_divergence_is_never_negative_and_none_is_left_where_both_are_equal(
    how: Divergence, one: int, other: int, spread: float, k: int
) -> None:
    student, teacher = logits_of(one, spread=spread), logits_of(other, spread=spread)
    assert dense_divergence(student, teacher, how) >= -1e-12
    assert abs(dense_divergence(teacher + 3, teacher, how)) < 1e-12
    ids, logprobs = top(teacher, k)
    assert sparse_divergence(student, ids, logprobs, how) >= -1e-12
    assert abs(sparse_divergence(teacher + 3, ids, logprobs, how)) < 1e-12


@pytest.mark.parametrize("how", KINDS)
@given(SEEDS, SEEDS)
@settings(max_examples=15, deadline=None)
def test_all_ids_of_the_vocabulary_say_as_much_as_the_logits(how: Divergence, one: int, other: int) -> None:
    student, teacher = logits_of(one).requires_grad_(), logits_of(other)
    order = torch.argsort(torch.rand(teacher.shape), dim=-1)
    logprobs = torch.nn.functional.pad(teacher.log_softmax(-1).gather(1, order), (0, 1), value=-torch.inf)
    sparse, dense = sparse_divergence(student, order, logprobs, how), dense_divergence(student, teacher, how)
    torch.testing.assert_close(sparse, dense)
    torch.testing.assert_close(torch.autograd.grad(sparse, student)[0], torch.autograd.grad(dense, student)[0])


@pytest.mark.parametrize("how", AT_ONE)
@settings(max_examples=40, deadline=None)
@given(SEEDS, SEEDS, SPREADS, st.integers(1, 10))
def test_fewer_outcomes_never_diverge_more(how: Divergence, one: int, other: int, spread: float, k: int) -> None:
    student, teacher = logits_of(one, spread=spread), logits_of(other, spread=spread)
    few, more = (sparse_divergence(student, *top(teacher, count), how) for count in (k, min(k + 1, 10)))
    dense = dense_divergence(student, teacher, how)
    assert few <= more + 1e-9
    assert more <= dense * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("how", KINDS)
def test_gradients_are_the_slopes(how: Divergence) -> None:
    student, teacher = logits_of(3).requires_grad_(), logits_of(4)
    ids, logprobs = top(teacher, 4)
    weights = torch.tensor([0.5, 0.0, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda values: dense_divergence(values, teacher, how, weights), student)
    assert torch.autograd.gradcheck(lambda values: sparse_divergence(values, ids, logprobs, how, weights), student)
    shares = torch.tensor([[0.5, 0.25, 0.25, 0.0]], dtype=torch.float64).expand(3, 4)
    assert torch.autograd.gradcheck(
        lambda values: sampled_cross_entropy(values, ids, shares, how.temperature, weights), student
    )


def test_gradients_keep_their_size_as_the_temperature_rises() -> None:
    student, teacher = logits_of(5, spread=0.1).requires_grad_(), logits_of(6, spread=0.1)
    sizes = []
    for temperature in (1.0, 4.0):
        loss = dense_divergence(student, teacher, Divergence(temperature=temperature))
        sizes.append(float(torch.autograd.grad(loss, student)[0].norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


def test_forward_kl_and_cross_entropy_pull_alike() -> None:
    student, teacher = logits_of(7).requires_grad_(), logits_of(8)
    (of_kl,) = torch.autograd.grad(dense_divergence(student, teacher), student)
    (of_entropy,) = torch.autograd.grad(cross_entropy(student, teacher.softmax(-1), reduction="sum"), student)
    torch.testing.assert_close(of_kl, of_entropy)


def test_weights_count_positions() -> None:
    student, teacher = logits_of(9), logits_of(10)
    weights = torch.tensor([2.0, 0.0, 1.0])
    expected = 2 * dense_divergence(student[:1], teacher[:1]) + dense_divergence(student[2:], teacher[2:])
    torch.testing.assert_close(dense_divergence(student, teacher, weights=weights), expected)
    ids, logprobs = top(teacher, 3)
    parts = [float(sparse_divergence(student[[row]], ids[[row]], logprobs[[row]])) for row in range(3)]
    assert float(sparse_divergence(student, ids, logprobs, weights=weights)) == pytest.approx(2 * parts[0] + parts[2])


def test_divergence_and_labels_come_of_one_pass() -> None:
    student, teacher, labels = logits_of(11).requires_grad_(), logits_of(12), torch.tensor([0, 4, 10])
    ids, logprobs = top(teacher, 4)
    apart, entropy = sparse_losses(student, ids, logprobs, labels)
    plain = cross_entropy(student, labels, reduction="none")
    torch.testing.assert_close(entropy, plain)
    torch.testing.assert_close(apart.sum(), sparse_divergence(student, ids, logprobs))
    mine = torch.autograd.grad((apart + 0.3 * entropy).sum(), student)[0]
    theirs = torch.autograd.grad(sparse_divergence(student, ids, logprobs) + 0.3 * plain.sum(), student)[0]
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("exact", [0, 3])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_mean_over_draws_is_the_dense_gradient(exact: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(4)
    trials, draws, size = 40_000, 5, 8
    student, teacher = logits_of(13, 1, size).requires_grad_(), logits_of(14, 1, size)
    best = (teacher / temperature).log_softmax(-1).topk(exact)
    ids, counts = draw(
        teacher.expand(trials, -1), draws, temperature=temperature,
        exact=best.indices.expand(trials, -1) if exact else None, generator=generator,
    )  # fmt: skip
    rest = 1 - best.values.exp().sum(-1, keepdim=True)
    ids = torch.cat([best.indices.expand(trials, -1), ids], -1)
    shares = torch.cat([best.values.exp().expand(trials, -1), rest * counts / draws], -1)
    loss = sampled_cross_entropy(student.expand(trials, -1), ids, shares, temperature) / trials
    (mine,) = torch.autograd.grad(loss, student)
    (wanted,) = torch.autograd.grad(dense_divergence(student, teacher, Divergence(temperature=temperature)), student)
    noise = temperature * float(rest.sum()) / math.sqrt(trials * draws)
    assert (mine - wanted).abs().max() < 4 * noise
    entropy = -(teacher / temperature).softmax(-1) * (teacher / temperature).log_softmax(-1)
    value = dense_divergence(student, teacher, Divergence(temperature=temperature)) + entropy.sum() * temperature**2
    assert float(loss.detach()) == pytest.approx(float(value.detach()), rel=0.02)


def test_the_best_ids_alone_are_a_biased_teacher() -> None:
    student, teacher = logits_of(13, 1, 8).requires_grad_(), logits_of(14, 1, 8)
    best = teacher.softmax(-1).topk(3)
    shares = best.values / best.values.sum(-1, keepdim=True)
    (cut,) = torch.autograd.grad(sampled_cross_entropy(student, best.indices, shares), student)
    (wanted,) = torch.autograd.grad(dense_divergence(student, teacher), student)
    assert (cut - wanted).abs().max() > 0.01


@given(SEEDS, st.integers(1, 60), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_draws_are_distinct_ids_with_their_counts(seed: int, draws: int, exact: int) -> None:
    teacher = logits_of(seed, 4, 9)
    held = teacher.topk(exact).indices if exact else None
    ids, counts = draw(teacher, draws, exact=held, generator=torch.Generator().manual_seed(seed))
    assert (counts.sum(-1) == draws).all()
    for row in range(4):
        used = ids[row][counts[row] > 0].tolist()
        assert used == sorted(set(used))
        assert held is None or not set(used) & set(held[row].tolist())


def test_a_rest_of_nothing_can_still_be_drawn_from() -> None:
    certain = torch.tensor([[0.0, -1e9, -1e9]])
    ids, counts = draw(certain, 4, exact=torch.tensor([[0]]))
    assert (int(counts.sum()), 0 in ids[counts > 0].tolist()) == (4, False)


@given(st.lists(st.floats(-40, 0), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_the_rest_is_what_is_left_of_one(values: list[float]) -> None:
    given_ = torch.tensor([values])
    if float(given_.exp().sum()) > 1:
        given_ = given_.log_softmax(-1)
    found = with_rest(given_)
    assert found.isfinite().all()
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-5)
    assert float(found[0, -1].exp()) == pytest.approx(1 - float(given_.double().exp().sum()), abs=1e-6)


@pytest.mark.parametrize("how", AT_ONE)
@pytest.mark.parametrize("peak", [20.0, 200.0, 1e4])
def test_float32_stays_finite_however_sure_both_sides_are(how: Divergence, peak: float) -> None:
    student = (torch.eye(4)[[0, 1]] * peak).requires_grad_()
    teacher = torch.eye(4)[[1, 1]] * peak
    ids, logprobs = top(teacher, 2)
    for loss in (dense_divergence(student, teacher, how), sparse_divergence(student, ids, logprobs, how)):
        assert loss.isfinite()
        assert torch.autograd.grad(loss, student)[0].isfinite().all()


@pytest.mark.parametrize("how", AT_ONE)
def test_what_a_student_cannot_write_costs_much_but_not_infinitely_much(how: Divergence) -> None:
    student = torch.tensor([[0.0, -torch.inf, 0.0]], requires_grad=True)
    loss = dense_divergence(student, torch.zeros(1, 3), how)
    assert loss.isfinite()
    assert loss > 0.05
    assert torch.autograd.grad(loss, student)[0].isfinite().all()


def test_a_peaked_rest_costs_in_float32_what_it_costs_in_float64() -> None:
    teacher, student = torch.zeros(1, 1000).double(), torch.zeros(1, 1000).double()
    teacher[0, 0], student[0, 0] = 25.0, 18.0
    ids, logprobs = top(teacher, 1)
    exact = float(sparse_divergence(student, ids, logprobs))
    coarse = float(sparse_divergence(student.float(), ids, logprobs.float()))
    assert coarse == pytest.approx(exact, abs=2e-7)  # one step of float32 at probability 1


@pytest.mark.parametrize("call", [dense_divergence, lambda student, teacher: sparse_divergence(student, *top(teacher, 2))])
def test_bfloat16_logits_work_and_get_bfloat16_gradients(call: Callable[..., Any]) -> None:
    student = logits_of(15).bfloat16().requires_grad_()
    loss = call(student, logits_of(16).float())
    assert loss.dtype == torch.float32
    assert torch.autograd.grad(loss, student)[0].dtype == torch.bfloat16


def test_many_blocks_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = logits_of(17, 7).requires_grad_(), logits_of(18, 7)
    whole = dense_divergence(student, teacher)
    (wanted,) = torch.autograd.grad(whole, student)
    monkeypatch.setattr("pillm_hf.distilling.divergences._BLOCK", 22)
    loss = dense_divergence(student, teacher)
    torch.testing.assert_close(loss, whole)
    for _ in range(2):  # a second pass makes the gradient anew
        torch.testing.assert_close(torch.autograd.grad(loss, student, retain_graph=True)[0], wanted)


def test_nothing_to_learn_costs_nothing() -> None:
    empty = torch.zeros(0, 11, requires_grad=True)
    dense_divergence(empty, torch.zeros(0, 11)).backward()
    sparse_divergence(empty, torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, 3)).backward()
    assert empty.grad is not None


def test_without_a_gradient_none_is_made() -> None:
    student, teacher = logits_of(19).requires_grad_(), logits_of(20)
    with torch.no_grad():
        assert dense_divergence(student, teacher).grad_fn is None
    torch.testing.assert_close(dense_divergence(student.detach(), teacher), dense_divergence(student, teacher).detach())


def test_padding_of_the_teachers_vocabulary_is_cut_and_the_others_keep_their_proportions() -> None:
    teacher = logits_of(21, 2, 16)
    cut = align_vocabulary(teacher, 12, tokens=10)
    torch.testing.assert_close(cut.softmax(-1), teacher.softmax(-1)[:, :12] / teacher.softmax(-1)[:, :12].sum(-1, keepdim=True))


@pytest.mark.parametrize("how", AT_ONE)
def test_padding_that_the_teacher_lacks_gets_no_mass_and_finite_losses(how: Divergence) -> None:
    student, teacher = logits_of(22, 2, 16).requires_grad_(), align_vocabulary(logits_of(23, 2, 12), 16, tokens=10)
    assert float(teacher.softmax(-1)[:, 12:].sum()) == 0
    loss = dense_divergence(student, teacher, how)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert (gradient[:, 12:] > 0).all()  # a step down takes mass from there


@pytest.mark.parametrize(("theirs", "mine"), [(9, 12), (12, 9)])
def test_vocabularies_that_differ_by_more_than_padding_are_refused(theirs: int, mine: int) -> None:
    with pytest.raises(pillm.DataError, match=r"more than padding differs.*sequence-level labels"):
        align_vocabulary(torch.zeros(1, theirs), mine, tokens=10)
