from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pillm_llamacpp.process.nearness import _divergence, _others

TABLES = hnp.arrays(np.float64, (3, 5), elements=st.floats(-30, 30))


@given(theirs=TABLES, mine=TABLES)
def test_the_divergence_is_never_negative_and_nothing_from_itself(theirs: np.ndarray, mine: np.ndarray) -> None:
    assert (_divergence(theirs, mine) >= 0).all()
    assert np.allclose(_divergence(theirs, theirs), 0)
    assert np.allclose(_divergence(theirs, theirs + 3), 0)


def test_the_divergence_is_that_of_the_definition() -> None:
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    found = _divergence(np.log(p)[None], np.log(q)[None])
    assert found[0] == pytest.approx(float((p * np.log(p / q)).sum()))


def test_other_choices_come_with_both_tokens_and_how_far_apart_they_are() -> None:
    theirs, mine = np.array([[1.0, 2.0, 0.0], [3.0, 2.5, 0.0]]), np.array([[1.0, 2.0, 0.0], [2.0, 2.5, 0.0]])
    assert _others(theirs, mine) == [[1, 0, 1, 0.5]]
