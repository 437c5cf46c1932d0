"""Two JSON Schemas as the one that says both: what `allOf`, and whatever stands beside a reference or a union, comes to."""

from __future__ import annotations

import json
from typing import Any

from pillm_llamacpp.grammars.keywords import Schema, none, refuse

_GREATER = frozenset(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"))
_SMALLER = frozenset(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"))
_OF_NAMES, _OF_PLACES = ("properties", "additionalProperties"), ("prefixItems", "items")
_MOST_PAIRS = 64


def conjoined(one: Schema, other: Schema, path: str) -> Schema:
    """Return the schema that says what both say; neither holds `$ref` or `allOf` itself, their parts may.

    Raises Impossible where nothing satisfies both, Unsupported where a keyword of both cannot be said in one.
    """
    made = {**one, **other}
    for key in one:
        if key in other and key not in (*_OF_NAMES, *_OF_PLACES):
            made[key] = one[key] if _alike(one[key], other[key]) else _both(key, one[key], other[key], path)
    if one.keys() & set(_OF_NAMES) and other.keys() & set(_OF_NAMES):
        made |= _names(one, other)
    if one.keys() & set(_OF_PLACES) and other.keys() & set(_OF_PLACES):
        made |= _places(one, other)
    return made


def _alike(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)  # 1 and true are two values


def _both(key: str, one: Any, other: Any, path: str) -> Any:
    """Return what one keyword says that says what two do."""
    if key in _GREATER:
        return max(one, other)
    if key in _SMALLER:
        return min(one, other)
    if key == "required":
        return list(dict.fromkeys([*one, *other]))
    if key == "type":
        return _types(one, other, path)
    if key == "uniqueItems":
        return True
    if key == "propertyNames":
        return _all_of(one, other)
    if key == "enum":
        return [value for value in one if any(_alike(value, told) for told in other)] or none(path, "values of two enums")
    if key == "const":
        none(path, "values of two constants")
    if key in ("anyOf", "oneOf") and len(one) * len(other) <= _MOST_PAIRS:
        return [_all_of(first, second) for first in one for second in other]
    return refuse(path, f"the keyword {key!r} in parts that say it differently")


def _types(one: Any, other: Any, path: str) -> Any:
    first, second = ([kinds] if isinstance(kinds, str) else kinds for kinds in (one, other))
    numbers = {"integer", "number"}
    found = [kind for kind in first if kind in second]
    if "integer" not in found and "number" not in found and numbers & set(first) and numbers & set(second):
        found.append("integer")
    return (found if len(found) != 1 else found[0]) or none(path, f"the types {', '.join(first)} and {', '.join(second)}")


def _names(one: Schema, other: Schema) -> Schema:
    """Return the properties of both, each held also to what the other says of those that it does not name."""
    names = dict.fromkeys([*one.get("properties", ()), *other.get("properties", ())])
    found: Schema = {"additionalProperties": _all_of(*(side.get("additionalProperties", True) for side in (one, other)))}
    if "properties" in one or "properties" in other:
        found["properties"] = {
            name: _all_of(
                *(side.get("properties", {}).get(name, side.get("additionalProperties", True)) for side in (one, other))
            )
            for name in names
        }
    return found


def _places(one: Schema, other: Schema) -> Schema:
    """Return what both say of the items of an array, place by place."""
    firsts = [side.get("prefixItems", []) for side in (one, other)]
    rests = [side.get("items", True) for side in (one, other)]
    most = max(map(len, firsts))
    found: Schema = {"items": _all_of(*rests)} if "items" in one or "items" in other else {}
    if most:
        columns = [[*first, *[rest] * (most - len(first))] for first, rest in zip(firsts, rests, strict=True)]
        found["prefixItems"] = [_all_of(*pair) for pair in zip(*columns, strict=True)]
    return found


def _all_of(one: Any, other: Any) -> Any:
    """Return a schema for both, which is looked into when its turn comes."""
    if one is False or other is False:
        return False
    if one is True or _alike(one, other):
        return other
    return one if other is True else {"allOf": [one, other]}
