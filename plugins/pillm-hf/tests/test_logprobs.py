"""Log-probabilities of some ids and of the rest: right to the last digits, with a gradient that needs one tensor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_hf.distilling.logprobs import known_logprobs, wide


def plainly(logits: torch.Tensor, ids: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same by torch's own steps."""
    every = logits.log_softmax(-1)
    rest = every.scatter(1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([every.gather(1, ids), rest], -1), every.gather(1, chosen)


def made(seed: int, rows: int, size: int, k: int, spread: float = 3.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, size, generator=generator, dtype=torch.float64) * spread
    ids = torch.stack([torch.randperm(size, generator=generator)[:k] for _ in range(rows)])
    return logits.requires_grad_(), ids, torch.randint(size, (rows, 2), generator=generator)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4), st.integers(2, 12), st.floats(0.1, 30))
def test_values_and_gradients_are_those_of_the_plain_steps(seed: int, rows: int, size: int, spread: float) -> None:
    logits, ids, chosen = made(seed, rows, size, size // 2, spread)
    mine, theirs = known_logprobs(logits, ids, chosen), plainly(logits, ids, chosen)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)
    pull = [torch.randn(part.shape, dtype=torch.float64) for part in mine]
    torch.testing.assert_close(
        torch.autograd.grad(mine, logits, pull)[0], torch.autograd.grad(theirs, logits, pull)[0], rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("k", [0, 1, 4])
def test_the_gradient_is_the_slope(k: int) -> None:
    logits, ids, chosen = made(7, 3, 9, k)
    assert torch.autograd.gradcheck(lambda values: known_logprobs(values, ids, chosen), logits)


def test_a_second_backward_pass_gives_the_same_gradient() -> None:
    logits, ids, chosen = made(1, 2, 8, 3)
    loss = known_logprobs(logits, ids, chosen)[0].sum()
    first = torch.autograd.grad(loss, logits, retain_graph=True)[0].clone()
    assert torch.equal(torch.autograd.grad(loss, logits)[0], first)


def test_a_small_rest_is_exact_where_one_minus_the_others_would_be_rounding() -> None:
    logits = torch.tensor([[30.0, 5.0, 4.0, -3.0]])
    (coarse, _) = known_logprobs(logits, torch.tensor([[0]]), torch.zeros(1, 0, dtype=torch.long))
    truth = logits.double().log_softmax(-1)[:, 1:].logsumexp(-1)
    torch.testing.assert_close(coarse[:, 1].double(), truth, rtol=1e-6, atol=0)
    assert float(1 - coarse[:, 0].exp()) == 0


@pytest.mark.parametrize("peak", [100.0, 1e4, torch.inf])
def test_a_rest_that_holds_nothing_gives_finite_values_and_gradients(peak: float) -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, -1.0]]) - torch.tensor([[0.0, peak, peak, peak]])
    logits.requires_grad_()
    coarse, _ = known_logprobs(logits, torch.tensor([[0]]), torch.zeros(1, 0, dtype=torch.long))
    assert coarse.isfinite().all()
    (gradient,) = torch.autograd.grad((coarse * torch.tensor([[-0.5, -1e6]])).sum(), logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_in_16_bit_are_summed_in_float32_and_get_a_gradient_in_16_bit(dtype: torch.dtype) -> None:
    logits, ids, chosen = made(3, 2, 64, 4)
    half = logits.detach().to(dtype).requires_grad_()
    coarse, _ = known_logprobs(half, ids, chosen)
    torch.testing.assert_close(coarse, plainly(half.float(), ids, chosen)[0], rtol=1e-5, atol=1e-5)
    assert torch.autograd.grad(coarse.sum(), half)[0].dtype == dtype
    assert wide(half).dtype == torch.float32


def test_nothing_of_the_logits_size_is_kept_but_one_tensor() -> None:
    kept: list[int] = []
    logits, ids, chosen = made(2, 4, 1000, 3)
    with torch.autograd.graph.saved_tensors_hooks(lambda part: kept.append(part.numel()) or part, lambda part: part):
        coarse, _ = known_logprobs(logits, ids, chosen)
    assert sum(size >= logits.numel() for size in kept) == 1  # the logits themselves; the gradient-to-be is no saved tensor
    assert coarse.grad_fn.chances.numel() == logits.numel()
    coarse.sum().backward()
    assert coarse.grad_fn.chances is None
