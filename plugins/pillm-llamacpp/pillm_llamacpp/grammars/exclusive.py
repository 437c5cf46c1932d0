"""Whether two choices of a `oneOf` exclude each other: an answer that satisfies both satisfies neither `oneOf` nor schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from pillm_llamacpp.grammars.keywords import Impossible, Schema

Look: TypeAlias = Callable[[Any], Schema]
_DEEPEST, _MOST_LOOKS = 6, 20_000


class Exclusion:
    """Looks into choices: `look` writes out a part's references, `validator` judges a value by a part.

    Both are as `Writer` has them; what cannot be told counts as overlapping.
    """

    def __init__(self, look: Look, validator: Any) -> None:
        self._look, self._validator, self._looks = look, validator, 0

    def overlapping(self, choices: list[Any]) -> tuple[int, int] | None:
        """Return the first two choices of which an answer may satisfy both; None where there are none."""
        for second, other in enumerate(choices):
            for first, one in enumerate(choices[:second]):
                if not (self._never(one, other, 0) and self._never(other, one, 0)):
                    return first, second
        return None

    def _never(self, made: Any, other: Any, depth: int) -> bool:
        """Say whether what a grammar of `made` lets through never satisfies `other`."""
        self._looks += 1
        if depth > _DEEPEST or self._looks > _MOST_LOOKS:
            return False
        try:
            one, two = self._look(made), self._look(other)
        except Impossible:
            return True
        for part in _choices(one):
            return all(self._never(choice, two, depth + 1) for choice in part)
        for part in _choices(two):
            return all(self._never(one, choice, depth + 1) for choice in part)
        for values, against in ((_values(one), two), (_values(two), one)):
            if values is not None:
                valid = self._validator.evolve(schema=against).is_valid
                return not any(valid(value) for value in values)
        kinds = [_kinds(one), _kinds(two)]
        if all(kinds) and not kinds[0] & kinds[1]:
            return True
        return kinds[0] == {"object"} and self._other_members(one, two, depth)

    def _other_members(self, one: Schema, two: Schema, depth: int) -> bool:
        """Say whether objects written for `one` lack what `two` requires, or hold what it does not allow."""
        ours = one.get("properties", {} if one.get("additionalProperties") is False else None)
        theirs = two.get("properties", {})
        needed, wanted = set(one.get("required", ())), set(two.get("required", ()))
        if ours is None:
            return False
        if wanted - ours.keys() or (two.get("additionalProperties") is False and needed - theirs.keys()):
            return True
        both = [name for name in ours if name in theirs and name in needed | wanted]
        return any(self._never(ours[name], theirs[name], depth + 1) for name in both)


def _choices(part: Schema) -> Iterator[list[Schema]]:
    """Yield the choices of a union, each with what stands beside it; nothing for what is none."""
    for key in ("anyOf", "oneOf"):
        if key in part and _values(part) is None:
            rest = {name: value for name, value in part.items() if name != key}
            yield [{"allOf": [rest, choice]} for choice in part[key]]
            return


def _values(part: Schema) -> list[Any] | None:
    return [part["const"]] if "const" in part else part.get("enum")


def _kinds(part: Schema) -> set[str]:
    """Return the types of a part, empty where it tells none; every integer is a number."""
    kinds = part.get("type", [])
    return {"number" if kind == "integer" else kind for kind in ([kinds] if isinstance(kinds, str) else kinds)}
