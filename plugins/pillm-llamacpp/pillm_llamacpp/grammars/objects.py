"""The members of an object as a sequence: what is required in its order, then what may be left out in its order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

from pillm_llamacpp.grammars.sequences import BLANK, Sequence, enclosed, letters, union

_FEW = 24
"""Members that may be left out, up to which the names that may come next are written as one tree."""
_MOST_STATES = 100


def members(
    values: Mapping[str, Sequence],
    required: Iterable[str],
    name: Callable[[str], Sequence],
    counts: tuple[int, int | None] = (0, None),
) -> Sequence:
    """Return an object of these members; `name` makes an expression a rule.

    `counts` are the fewest and the most of the members that may be left out; there are as many as the fewest.
    """
    wanted = set(required)
    spelt = {key: letters(json.dumps(key, ensure_ascii=False) + ":") + BLANK + value for key, value in values.items()}
    needed = [one for key, one in spelt.items() if key in wanted]
    free = [one for key, one in spelt.items() if key not in wanted]
    if not free:
        return enclosed("{", needed, "}")
    if counts != (0, None):
        return _counted(needed, free, counts, name)
    start = enclosed("{", needed, "}")[: -len(BLANK) - 1] if needed else letters("{")
    rests = _rests(free, name)
    rest = rests[0] if needed else BLANK + name(f"( {_choice(free, rests, 0)} )?")
    return start + rest + BLANK + letters("}")


def _rests(free: list[Sequence], name: Callable[[str], Sequence]) -> list[Sequence]:
    """Return what may follow before each of the free members, the comma included."""
    found: list[Sequence] = [()] * (len(free) + 1)
    for place in range(len(free) - 1, -1, -1):
        if len(free) > _FEW:
            one = union([letters(",") + BLANK + free[place]])
            found[place] = name(f"( {one} )? {union([found[place + 1]])}")
        else:
            found[place] = name(f'( "," ws {_choice(free, found, place)} )?')
    return found


def _choice(free: list[Sequence], rests: list[Sequence], start: int) -> str:
    """Return the choice of the free member that comes next, each with what may follow it."""
    last = len(free) if len(free) <= _FEW or start == 0 else start + 1
    return f"( {union(free[place] + rests[place + 1] for place in range(start, last))} )"


def few_enough(free: int, counts: tuple[int, int | None]) -> bool:
    """Say whether a count of members that may be left out makes a grammar of usual size."""
    return (free + 1) * (1 + (counts[0] if counts[1] is None else counts[1])) <= _MOST_STATES


def _counted(
    needed: list[Sequence], free: list[Sequence], counts: tuple[int, int | None], name: Callable[[str], Sequence]
) -> Sequence:
    """Return an object in which so many of the free members stand: a rule for each place and count."""
    low, high = counts
    made: dict[tuple[int, int], Sequence] = {}

    def choice(start: int, taken: int) -> str:
        last = len(free) - max(0, low - taken - 1)
        return union(free[place] + rest(place + 1, taken + 1) for place in range(start, last))

    def rest(start: int, taken: int) -> Sequence:
        taken = min(taken, low) if high is None else taken
        if start == len(free) or taken == high:
            return ()
        if (start, taken) not in made:
            body = f'"," ws ( {choice(start, taken)} )'
            made[start, taken] = name(body if taken < low else f"( {body} )?")
        return made[start, taken]

    if needed or high == 0:
        return enclosed("{", needed, "}")[: -len(BLANK) - 1] + rest(0, 0) + BLANK + letters("}")
    return letters("{") + BLANK + name(f"( {choice(0, 0)} )" + ("" if low else "?")) + BLANK + letters("}")
