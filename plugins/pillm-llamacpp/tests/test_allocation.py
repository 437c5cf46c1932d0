"""Bytes given to tensors: the best choice for every budget, held against trying everything."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_llamacpp.choosing.allocation import Allocations, Option, Part

OPTION = st.builds(Option, type=st.sampled_from("abcdef"), bytes=st.integers(0, 40), loss=st.floats(0, 10))


def parts_of(rows: list[list[Option]]) -> list[Part]:
    numbered = [[Option(type=f"t{n}", bytes=one.bytes, loss=one.loss) for n, one in enumerate(row)] for row in rows]
    return [Part(name=f"part{number}", options=tuple(row)) for number, row in enumerate(numbered)]


def cost(parts: list[Part], chosen: dict[str, str]) -> tuple[int, float]:
    taken = [next(one for one in part.options if one.type == chosen[part.name]) for part in parts]
    return sum(one.bytes for one in taken), sum(one.loss for one in taken)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.lists(OPTION, min_size=1, max_size=4), min_size=1, max_size=4), st.integers(0, 160))
def test_no_choice_within_the_budget_loses_less(rows: list[list[Option]], budget: int) -> None:
    parts = parts_of(rows)
    possible = [
        (sum(one.bytes for one in taken), sum(one.loss for one in taken))
        for taken in product(*(part.options for part in parts))
    ]
    within = [loss for size, loss in possible if size <= budget]
    chosen = Allocations(parts).within(budget)
    if not within:
        assert chosen is None
        return
    assert chosen is not None
    size, loss = cost(parts, chosen)
    assert size <= budget
    assert loss == pytest.approx(min(within))


def test_more_bytes_never_lose_more() -> None:
    options = tuple(Option(type=f"t{bits}", bytes=bits * 1000, loss=4.0**-bits) for bits in (3, 4, 5, 6, 8))
    parts = [Part(name=f"part{number}", options=options) for number in range(12)]
    solved = Allocations(parts)
    losses = [cost(parts, solved.within(budget) or {})[1] for budget in range(solved.smallest, solved.largest + 1, 1000)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(12 * 4.0**-8)


def test_the_tensor_that_suffers_most_gets_the_bytes() -> None:
    def part(name: str, price: float) -> Part:
        return Part(
            name=name, options=tuple(Option(type=f"Q{bits}", bytes=bits * 100, loss=price * 4.0**-bits) for bits in (4, 5, 6))
        )

    chosen = Allocations([part("head", 50.0), part("deep", 1.0), part("early", 2.0)]).within(1500)
    assert chosen == {"head": "Q6", "deep": "Q4", "early": "Q5"}


def test_sizes_without_a_common_divisor_never_exceed_the_budget() -> None:
    parts = [
        Part(
            name=f"part{number}",
            options=(Option(type="small", bytes=1_000_003 + number, loss=1.0), Option(type="large", bytes=7_919_003, loss=0.1)),
        )
        for number in range(40)
    ]
    solved = Allocations(parts)
    for budget in range(solved.smallest, solved.largest, 17_000_001):
        chosen = solved.within(budget)
        assert chosen is not None
        size, _ = cost(parts, chosen)
        assert size <= budget
        assert budget - size < 7_919_003, "a whole tensor more would have fitted"


def test_a_part_without_options_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an option"):
        Allocations([Part(name="part", options=())])
