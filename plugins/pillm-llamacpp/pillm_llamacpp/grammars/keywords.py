"""What the keywords of a JSON Schema say, read strictly: what is not understood is refused by name and path."""

from __future__ import annotations

import math
from typing import Any, NoReturn, TypeAlias

from pillm_llamacpp.grammars.numbers import MOST

Schema: TypeAlias = dict[str, Any]
_MOST_REPEATS = 512


class Unsupported(Exception):
    """A construct that no grammar is made for; the message names it with its path."""


class Impossible(Unsupported):
    """Nothing satisfies it: as one of several choices it is left out."""


def none(path: str, what: str) -> NoReturn:
    """Raise Impossible."""
    raise Impossible(f"{what}, of which there are none, at {path}")


def refuse(path: str, what: str) -> NoReturn:
    """Raise Unsupported."""
    raise Unsupported(f"{what} at {path}")


def only(kept: Schema, allowed: frozenset[str] | set[str], path: str, where: str) -> None:
    """Refuse the first keyword that is not among the allowed."""
    for key in kept:
        if key not in allowed:
            refuse(path, f"the keyword {key!r} {where}")


def bound(kept: Schema, key: str, otherwise: float, path: str) -> float:
    """Return the number that a keyword gives, or `otherwise`; refuse what is none, or too large."""
    value = kept.get(key, otherwise)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= MOST:
        refuse(path, f"{key} {value!r}")
    return value


def above(kept: Schema, path: str) -> int:
    """Return the least integer that `exclusiveMinimum` allows."""
    return math.floor(bound(kept, "exclusiveMinimum", -MOST, path)) + ("exclusiveMinimum" in kept)


def below(kept: Schema, path: str) -> int:
    """Return the greatest integer that `exclusiveMaximum` allows."""
    return math.ceil(bound(kept, "exclusiveMaximum", MOST, path)) - ("exclusiveMaximum" in kept)


def bounds(kept: Schema, low_key: str, high_key: str, path: str) -> tuple[int, int | None]:
    """Return the least and the greatest of a number of repeats; None: there is no greatest."""
    low, high = kept.get(low_key, 0), kept.get(high_key)
    for value in (low, high):
        if value is not None and (not isinstance(value, int) or not 0 <= value <= _MOST_REPEATS):
            refuse(path, f"a bound of {value!r} ({low_key} and {high_key} may be 0 to {_MOST_REPEATS})")
    if high is not None and high < low:
        none(path, f"lengths with {high_key} below {low_key}")
    return low, high


def check_text(name: str, path: str) -> None:
    """Refuse a name that is no Unicode text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        refuse(path, f"the name {name!r}, which is not Unicode text,")
