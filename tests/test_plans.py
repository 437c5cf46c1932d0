"""The lengths that a plan is asked about."""

from __future__ import annotations

import pytest

from pillm import ConfigError, Lengths


def test_a_request_has_a_prompt_an_answer_and_a_prefix_within_it() -> None:
    assert Lengths(prompt=5, answer=1, prefix=5).prefix == 5


@pytest.mark.parametrize(("prompt", "answer", "prefix"), [(0, 1, 0), (1, 0, 0), (5, 1, 6), (5, 1, -1)])
def test_impossible_lengths_are_refused(prompt: int, answer: int, prefix: int) -> None:
    with pytest.raises(ConfigError, match="are not possible"):
        Lengths(prompt=prompt, answer=answer, prefix=prefix)
