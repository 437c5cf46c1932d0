"""Codes: ids come back as they were, log-probabilities nearly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_hf.distilling.codes import bits_for, decode_logprobs, encode_logprobs, pack_ids, packed_bytes, unpack_ids


@given(st.integers(1, 300_000), st.lists(st.integers(0, 2**31), max_size=40))
def test_ids_come_back_out_of_as_few_bits_as_the_vocabulary_asks_for(size: int, drawn: list[int]) -> None:
    ids, bits = np.array([number % size for number in drawn], np.int64), bits_for(size)
    data = pack_ids(ids, bits)
    assert len(data) == packed_bytes(len(ids), bits)
    assert unpack_ids(np.frombuffer(data, np.uint8), len(ids), bits).tolist() == ids.tolist()


def test_an_id_of_qwens_vocabulary_takes_18_bits() -> None:
    assert (bits_for(151_936), bits_for(2**18), bits_for(2**18 + 1), bits_for(1)) == (18, 18, 19, 1)


@given(st.lists(st.floats(-30, 0), min_size=2, max_size=40))
def test_decoded_probabilities_sum_to_one_and_keep_their_order(values: list[float]) -> None:
    exact = np.sort(np.array([values]))
    decoded = decode_logprobs(encode_logprobs(exact))
    assert decoded.dtype == np.float32
    assert np.exp(decoded.astype(float)).sum() == pytest.approx(1, abs=1e-5)
    assert (np.diff(decoded) >= 0).all()


def softened(logprobs: np.ndarray, temperature: float) -> np.ndarray:
    scaled = logprobs.astype(float) / temperature
    scaled -= scaled.max(-1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(-1, keepdims=True))


def outcomes(logits: np.ndarray, k: int = 32) -> np.ndarray:
    """Return the log-probabilities of the k best ids and of the rest."""
    every = -np.sort(-softened(logits, 1), axis=-1)
    return np.concatenate([every[:, :k], np.log(np.exp(every[:, k:]).sum(-1, keepdims=True))], -1)


def shapes() -> dict[str, np.ndarray]:
    rng, size = np.random.default_rng(1), (200, 4000)
    certain = rng.normal(size=size) * 3
    certain[:, 0] = certain.max(-1) + rng.uniform(5, 15, size[0])
    zipf = -2 * np.log(np.arange(1, size[1] + 1)) + rng.normal(size=size) * 0.5
    made = {f"normal {spread}": rng.normal(size=size) * spread for spread in (0.0, 1.0, 3.0, 6.0, 12.0)}
    return {**made, "zipf": zipf, "certain": certain}


@pytest.mark.parametrize("name", sorted(shapes()))
def test_eight_bits_cost_next_to_nothing_flat_or_peaked(name: str) -> None:
    exact = outcomes(shapes()[name])
    decoded = decode_logprobs(encode_logprobs(exact))
    for temperature, mean, most in ((1.0, 5.5e-5, 1e-4), (2.0, 3e-5, 5e-5)):
        one, other = softened(exact, temperature), softened(decoded, temperature)
        cost = (np.exp(one) * (one - other)).sum(-1)
        assert cost.mean() < mean
        assert cost.max() < most


@settings(max_examples=200)
@given(st.floats(-40, 0))
def test_a_probability_is_off_by_no_more_than_its_step(logprob: float) -> None:
    exact = np.array([[0.0, logprob]])  # beside a certain one, so that the division by the sum shows the step alone
    decoded = decode_logprobs(encode_logprobs(exact))
    if logprob > -20:
        step = 6 / 255 * np.exp(-logprob / 6)
        assert abs((decoded[0, 1] - decoded[0, 0]) - logprob) < step
    assert np.isfinite(decoded).all()
