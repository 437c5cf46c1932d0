from __future__ import annotations

import json
from itertools import combinations

import pytest
from pillm_llamacpp.grammars.objects import few_enough, members
from pillm_llamacpp.grammars.sequences import letters, rule, union
from pillm_llamacpp_walks import regex


def written(names: list[str], required: list[str], counts: tuple[int, int | None] = (0, None)) -> str:
    """Return the expression of an object whose values are all true, without rules: what has a name stands in its place."""
    return union([members({name: letters("true") for name in names}, required, lambda body: rule(f"( {body} )"), counts)])


@pytest.mark.parametrize("required", [[], ["b"], ["a", "c"], ["a", "b", "c", "d"]])
def test_each_choice_of_members_is_let_through_in_order_and_no_other(required: list[str]) -> None:
    names = ["a", "b", "c", "d"]
    expression = regex(written(names, required))
    for count in range(5):
        for chosen in combinations(names, count):
            ordered = [name for name in required if name in chosen] + [name for name in chosen if name not in required]
            text = json.dumps(dict.fromkeys(ordered, True))
            assert bool(expression.fullmatch(text)) == (set(required) <= set(chosen)), text
    assert not expression.fullmatch('{"a": true, "b": true, "c": true, "d": true, "e": true}')


def test_many_members_may_be_left_out() -> None:
    names = [f"member {number}" for number in range(60)]
    rules: list[str] = []
    members({name: letters("1") for name in names}, [], lambda body: (rules.append(body), rule(f"r{len(rules)}"))[1])
    assert sum(map(len, rules)) < 20_000


@pytest.mark.parametrize("required", [[], ["b"]])
@pytest.mark.parametrize("counts", [(0, 0), (1, None), (2, 2), (0, 1), (1, 3), (3, None)])
def test_as_many_members_stand_there_as_were_asked_for(required: list[str], counts: tuple[int, int | None]) -> None:
    names, (low, high) = ["a", "b", "c", "d"], counts
    expression = regex(written(names, required, counts))
    for count in range(5):
        for chosen in combinations(names, count):
            free = [name for name in chosen if name not in required]
            text = json.dumps(dict.fromkeys([*(name for name in required if name in chosen), *free], True))
            allowed = set(required) <= set(chosen) and low <= len(free) and (high is None or len(free) <= high)
            assert bool(expression.fullmatch(text)) == allowed, text


def test_a_count_is_kept_where_its_rules_are_few() -> None:
    assert few_enough(24, (1, None))
    assert not few_enough(60, (2, None))
