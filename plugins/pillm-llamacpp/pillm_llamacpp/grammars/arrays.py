"""Arrays as sequences: items alike, a tuple whose first items are of their own, a choice of few values without repeats."""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import TypeAlias

from pillm_llamacpp.grammars.sequences import BLANK, Sequence, letters, union

Name: TypeAlias = Callable[[str], Sequence]
_MOST_STATES = 64


def array(
    firsts: list[Sequence], more: Sequence | None, low: int, high: int | None, name: Callable[[str], Sequence]
) -> Sequence:
    """Return an array of `low` to `high` items: `firsts` in their places, then any number of `more`, where that is given."""
    firsts = firsts[:high]
    left = None if high is None else high - len(firsts)
    rest: Sequence = ()
    if more is not None and left != 0:
        item = union([more])
        least = max(0, low - len(firsts))
        if not firsts:
            count = f"{{{max(0, least - 1)},{'' if left is None else left - 1}}}" if least > 1 or left else "*"
            inner = item if left == 1 else f'{item} ( "," ws {item} ){count}'
            return name(f'"[" ws {inner} ws "]"' if low else f'"[" ws ( {inner} )? ws "]"')
        rest = name(f'( "," ws {item} ){{{least},{"" if left is None else left}}}')
    if not firsts:
        return name('"[" ws "]"')
    for place in range(len(firsts) - 1, 0, -1):
        piece = letters(",") + BLANK + firsts[place] + rest
        rest = piece if place < low else name(f"( {union([piece])} )?")
    inner = union([firsts[0] + rest])
    return name(f'"[" ws {inner} ws "]"' if low else f'"[" ws ( {inner} )? ws "]"')


def few_enough(count: int, high: int | None) -> bool:
    """Say whether arrays of so many values without repeats make a grammar of usual size."""
    most = count if high is None else min(high, count)
    return sum(comb(count, taken) for taken in range(most + 1)) <= _MOST_STATES


def without_repeats(values: list[Sequence], low: int, high: int | None, name: Name) -> Sequence:
    """Return an array of `low` to `high` different values in any order; `low` is at most as many as there are."""
    rests: dict[frozenset[int], Sequence] = {}

    def choice(left: frozenset[int]) -> str:
        return union(values[one] + rest(left - {one}) for one in sorted(left))

    def rest(left: frozenset[int]) -> Sequence:
        taken = len(values) - len(left)
        if not left or taken == high:
            return ()
        if left not in rests:
            body = f'"," ws ( {choice(left)} )'
            rests[left] = name(body if taken < low else f"( {body} )?")
        return rests[left]

    if high == 0 or not values:
        return name('"[" ws "]"')
    inner = choice(frozenset(range(len(values))))
    return name(f'"[" ws ( {inner} ){"" if low else "?"} ws "]"')
