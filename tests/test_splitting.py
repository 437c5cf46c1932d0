"""Whole groups go to one side, whatever the order of the rows, and nothing trained on comes into the test."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.errors import ConfigError, DataError
from pillm.records import Prompt
from pillm.stages.splitting import split


def prompt(number: int, group: str | None = None, side: str | None = None) -> Prompt:
    return Prompt(id=f"r{number}", messages=({"role": "user", "content": f"{number}"},), group=group, split=side)


@given(sizes=st.lists(st.integers(1, 9), min_size=8, max_size=40), seed=st.integers(0, 99))
@settings(deadline=None)
def test_no_group_is_on_two_sides_and_no_row_is_lost(sizes: list[int], seed: int) -> None:
    rows = [prompt(len(sizes) * 100 + 10 * g + i, f"g{g}") for g, size in enumerate(sizes) for i in range(size)]
    sides = split(rows, test=2, validation=2, calibration=1, seed=seed)
    assert sorted(row.id for side in sides.values() for row in side) == sorted(row.id for row in rows)
    for group in {row.group for row in rows}:
        assert sum(any(row.group == group for row in side) for side in sides.values()) == 1
    assert len(sides["test"]) >= 2
    assert all(row.split == name for name, side in sides.items() for row in side)


def test_the_same_seed_gives_the_same_sides_whatever_the_order_of_the_rows() -> None:
    rows = [prompt(i, f"g{i // 3}") for i in range(60)]
    one, other = split(rows, test=10, seed=5), split(rows[::-1], test=10, seed=5)
    assert {row.id for row in one["test"]} == {row.id for row in other["test"]}
    assert {row.id for row in split(rows, test=10, seed=6)["test"]} != {row.id for row in one["test"]}


def test_a_new_group_does_not_move_the_trained_ones_into_the_test() -> None:
    rows = [prompt(i, f"g{i}") for i in range(50)]
    before = {row.id for row in split(rows, test=10)["test"]}
    after = {row.id for row in split([*rows, prompt(99, "new")], test=10)["test"]}
    assert len(after - before) <= 1
    assert after - before <= {"r99"}


@given(sizes=st.lists(st.integers(1, 9), min_size=12, max_size=30), seed=st.integers(0, 99), size=st.integers(1, 9))
@settings(deadline=None)
def test_added_groups_push_others_towards_the_training_rows_and_never_back(sizes: list[int], seed: int, size: int) -> None:
    rows = [prompt(10 * g + i, f"g{g}") for g, many in enumerate(sizes) for i in range(many)]
    more = [prompt(1000 + i, "new") for i in range(size)]
    order = ["test", "validation", "calibration", "train"]
    asked = {"test": 3, "validation": 2, "calibration": 1, "seed": seed}
    before, after = (
        {row.id: order.index(name) for name, side in split(some, **asked).items() for row in side}  # type: ignore[arg-type]
        for some in (rows, [*rows, *more])
    )
    assert all(after[row] >= before[row] for row in before)


def test_rows_with_the_same_messages_go_to_one_side() -> None:
    rows = [prompt(i // 2, f"g{i}") for i in range(40)]  # each question stands in two groups
    rows = [Prompt(id=f"r{i}", messages=row.messages, group=row.group) for i, row in enumerate(rows)]
    for by in ("group", "id"):
        sides = split(rows, test=9, validation=5, by=by)
        said = [{row.text for row in side} for side in sides.values()]
        assert sum(map(len, said)) == 20, by
        again = split(rows[::-1], test=9, validation=5, by=by)
        assert {name: {row.id for row in side} for name, side in again.items()} == {
            name: {row.id for row in side} for name, side in sides.items()
        }


def test_given_splits_that_cut_through_equal_rows_are_refused() -> None:
    rows = [prompt(0, None, "test"), Prompt(id="other", messages=prompt(0).messages, split="train"), prompt(1)]
    with pytest.raises(DataError, match=r"'r0' \(test\) and 'other' \(train\) belong together.*same messages"):
        split(rows)


def test_rows_that_arrive_with_a_split_keep_it_and_count() -> None:
    rows = [prompt(i, f"g{i}", "test" if i < 5 else None) for i in range(20)]
    sides = split(rows, test=5, validation=3)
    assert {row.id for row in sides["test"]} == {f"r{i}" for i in range(5)}
    assert len(sides["validation"]) == 3


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    assert len(split([prompt(i) for i in range(10)], test=3)["test"]) == 3


@pytest.mark.parametrize(
    ("rows", "asked", "words"),
    [
        ([prompt(0), prompt(1)], {"test": 5}, r"split 'test' wants 5 rows"),
        ([prompt(0), prompt(1)], {"test": 2}, r"no rows are left to train on"),
        ([prompt(0, "g", "test"), prompt(1, "g", "train")], {}, r"a group belongs to one side"),
        ([prompt(0, "g", "tset"), prompt(1)], {}, r"split 'tset' is unknown"),
    ],
)
def test_what_cannot_be_split_is_said(rows: list[Prompt], asked: dict[str, int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        split(rows, **asked)


def test_an_unknown_way_to_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="use 'group' or 'id'"):
        split([prompt(0)], by="moon")
