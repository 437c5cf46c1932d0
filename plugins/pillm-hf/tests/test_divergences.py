"""Divergences: what the field means by them, and what a teacher is known by."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_hf.losses.divergences import Divergence, align_vocabulary, draw, value_and_slope, with_rest
from torch.nn.functional import kl_div

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


def textbook(p: torch.Tensor, q: torch.Tensor, how: Divergence) -> torch.Tensor:
    """Return a divergence at each position, of probabilities, as papers write it."""

    def kl(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return kl_div(other.log(), one, reduction="none").sum(-1)

    if how.kind == "jsd":
        mixed = how.beta * p + (1 - how.beta) * q
        return how.beta * kl(p, mixed) + (1 - how.beta) * kl(q, mixed)
    return kl(p, q) if how.kind == "forward_kl" else kl(q, p)


@pytest.mark.parametrize("how", KINDS)
@settings(max_examples=15, deadline=None)
@given(SEEDS, SEEDS)
def test_a_divergence_is_the_textbooks_times_the_squared_temperature_with_its_gradient(
    how: Divergence, one: int, other: int
) -> None:
    student, teacher = logits_of(one).requires_grad_(), logits_of(other)
    p, q = (teacher / how.temperature).softmax(-1), (student / how.temperature).softmax(-1)
    wanted = textbook(p, q, how) * how.temperature**2
    values, slope = value_and_slope(student.detach(), teacher, how)
    torch.testing.assert_close(values, wanted.detach())
    torch.testing.assert_close(slope, torch.autograd.grad(wanted.sum(), student)[0])


@pytest.mark.parametrize("how", KINDS)
@settings(max_examples=25, deadline=None)
@given(SEEDS, SEEDS, SPREADS)
def test_a_divergence_is_never_negative_and_none_is_left_where_both_are_equal(
    how: Divergence, one: int, other: int, spread: float
) -> None:
    student, teacher = logits_of(one, spread=spread), logits_of(other, spread=spread)
    assert (value_and_slope(student, teacher, how)[0] >= -1e-12).all()
    for part in value_and_slope(teacher + 3, teacher, how):
        assert part.abs().max() < 1e-12


def test_gradients_keep_their_size_as_the_temperature_rises() -> None:
    student, teacher = logits_of(5, spread=0.1), logits_of(6, spread=0.1)
    sizes = [float(value_and_slope(student, teacher, Divergence(temperature=heat))[1].norm()) for heat in (1.0, 4.0)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


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
    for part in value_and_slope(torch.eye(4)[[0, 1]] * peak, torch.eye(4)[[1, 1]] * peak, how):
        assert part.isfinite().all()


@pytest.mark.parametrize("how", AT_ONE)
def test_what_a_student_cannot_write_costs_much_but_not_infinitely_much(how: Divergence) -> None:
    values, slope = value_and_slope(torch.tensor([[0.0, -torch.inf, 0.0]]), torch.zeros(1, 3), how)
    assert values.isfinite().all()
    assert float(values) > 0.05
    assert slope.isfinite().all()


def test_padding_of_the_teachers_vocabulary_is_cut_and_the_others_keep_their_proportions() -> None:
    teacher = logits_of(21, 2, 16)
    cut = align_vocabulary(teacher, 12, tokens=10)
    torch.testing.assert_close(cut.softmax(-1), teacher.softmax(-1)[:, :12] / teacher.softmax(-1)[:, :12].sum(-1, keepdim=True))


@pytest.mark.parametrize("how", AT_ONE)
def test_padding_that_the_teacher_lacks_gets_no_mass_and_finite_losses(how: Divergence) -> None:
    teacher = align_vocabulary(logits_of(23, 2, 12), 16, tokens=10)
    assert float(teacher.softmax(-1)[:, 12:].sum()) == 0
    values, slope = value_and_slope(logits_of(22, 2, 16), teacher, how)
    assert values.isfinite().all()
    assert slope.isfinite().all()
    assert (slope[:, 12:] > 0).all()  # a step down takes mass from there


@pytest.mark.parametrize(("theirs", "mine"), [(9, 12), (12, 9)])
def test_vocabularies_that_differ_by_more_than_padding_are_refused(theirs: int, mine: int) -> None:
    with pytest.raises(pillm.DataError, match=r"more than padding differs.*sequence-level labels"):
        align_vocabulary(torch.zeros(1, theirs), mine, tokens=10)
