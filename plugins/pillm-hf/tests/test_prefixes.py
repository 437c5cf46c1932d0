"""What many prompts begin with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pillm_hf.answering.prefixes import shared_prefix

SYSTEM = list(range(100, 400))


def test_the_prefix_of_all_is_found() -> None:
    assert shared_prefix([[*SYSTEM, 1, 2], [*SYSTEM, 3], [*SYSTEM, 4, 5, 6]]) == SYSTEM


def test_a_row_that_begins_otherwise_does_not_spoil_it() -> None:
    prompts = [[*SYSTEM, number] for number in range(9)]
    assert shared_prefix([[1, 2], *prompts, [900]]) == SYSTEM


def test_what_few_share_longer_gives_way_to_what_many_share() -> None:
    many = [[*SYSTEM, number] for number in range(20)]
    few = [[*SYSTEM, *SYSTEM[:5], number] for number in range(2)]
    assert shared_prefix(many + few) == SYSTEM


def test_a_whole_prompt_is_no_prefix_as_its_last_token_is_read_apart() -> None:
    assert shared_prefix([SYSTEM, SYSTEM]) == SYSTEM[:-1]


def test_little_is_not_worth_a_pass_of_its_own() -> None:
    assert shared_prefix([[1, 2, 3], [1, 2, 4]]) == []
    assert shared_prefix([SYSTEM]) == []
    assert shared_prefix([]) == []


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=80), max_size=40))
def test_some_prompts_begin_with_what_is_found_and_have_more(prompts: list[list[int]]) -> None:
    prefix = shared_prefix(prompts)
    sharing = [prompt for prompt in prompts if prompt[: len(prefix)] == prefix and len(prompt) > len(prefix)]
    assert not prefix or len(prefix) * (len(sharing) - 1) >= 256
