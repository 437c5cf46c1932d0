"""The JSON Schemas that a grammar can hold an answer to, exactly; anything else is refused by name.

llama-cpp-python's converter ignores what it does not know. So every schema is first brought into the small language
below, with local references written out, and the first construct outside it is named with its path.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, TypeAlias

from pillm_llamacpp.grammars.patterns import simple_pattern

Schema: TypeAlias = dict[str, Any]

_NOTES = frozenset({
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
    "$schema", "$id", "$comment", "$defs", "definitions",
})  # fmt: skip
_KEYWORDS = {
    "object": frozenset(("properties", "required", "additionalProperties")),
    "array": frozenset(("items", "minItems", "maxItems")),
    "string": frozenset(("minLength", "maxLength", "pattern", "format")),
    "integer": frozenset(("minimum", "maximum")),
    "number": frozenset(),
    "boolean": frozenset(),
    "null": frozenset(),
}
_FORMATS = ("date", "time", "date-time", "uuid")
OPEN_INTEGERS = {0: ("<natural number>", '("0" | [1-9] [0-9]{0,14})'), 1: ("<positive number>", "([1-9] [0-9]{0,14})")}
"""Minimum -> the text that stands for such integers on the way through the converter, and what it becomes."""
_MOST_NODES = 4000
_MOST_REPEATS = 512
_MOST_INTEGERS = 512


class Unsupported(Exception):
    """A construct that no grammar is made for; the message names it with its path."""


def simplify(schema: Any) -> Schema:
    """Return an equivalent schema in the supported language; raise Unsupported naming the first construct outside it."""
    return _Simplifier(schema).visit(schema, "#", ())


class _Simplifier:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._nodes = 0

    def visit(self, schema: Any, path: str, refs: tuple[str, ...]) -> Schema:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            _refuse(path, f"a schema of more than {_MOST_NODES} parts")
        if not isinstance(schema, dict):
            _refuse(path, f"the schema {json.dumps(schema)}")
        kept = {key: value for key, value in schema.items() if key not in _NOTES}
        if "$ref" in kept:
            return self._reference(kept, path, refs)
        for key in ("anyOf", "oneOf"):
            if key in kept:
                return self._union(kept, key, path, refs)
        if "const" in kept or "enum" in kept:
            return self._values(kept, path)
        return self._typed(kept, path, refs)

    def _reference(self, kept: Schema, path: str, refs: tuple[str, ...]) -> Schema:
        _only(kept, {"$ref"}, path, "beside $ref")
        ref = kept["$ref"]
        if not isinstance(ref, str) or not ref.startswith("#/"):
            _refuse(path, f"the reference {ref!r} (only '#/...' is followed)")
        if ref in refs:
            _refuse(path, f"the recursive reference {ref!r}")
        target = self._root
        for step in ref[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or name not in target:
                _refuse(path, f"the reference {ref!r}, which leads nowhere")
            target = target[name]
        return self.visit(target, ref, (*refs, ref))

    def _union(self, kept: Schema, key: str, path: str, refs: tuple[str, ...]) -> Schema:
        _only(kept, {key}, path, f"beside {key}")
        choices = kept[key]
        if not isinstance(choices, list) or not choices:
            _refuse(path, f"an empty {key}")
        return {"anyOf": [self.visit(choice, f"{path}/{key}/{index}", refs) for index, choice in enumerate(choices)]}

    def _values(self, kept: Schema, path: str) -> Schema:
        _only(kept, {"const", "enum", "type"}, path, "beside enum or const")
        values = [kept["const"]] if "const" in kept else kept["enum"]
        if not isinstance(values, list) or not values or ("const" in kept and "enum" in kept):
            _refuse(path, "this mixture of enum and const")
        kinds = kept.get("type")
        for value in values:
            if isinstance(value, (dict, list, float)):
                _refuse(path, f"the value {json.dumps(value)} in an enum")
            if isinstance(value, str):
                _literal(value, path)
            if kinds is not None and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
                _refuse(path, f"the value {json.dumps(value)}, which is not of the type beside it")
        return {"enum": values}

    def _typed(self, kept: Schema, path: str, refs: tuple[str, ...]) -> Schema:
        kinds = kept.pop("type", None)
        if kinds is None:
            kinds = "object" if "properties" in kept else _refuse(path, "a schema without a type")
        if isinstance(kinds, list):
            if kept:
                _refuse(path, f"{next(iter(kept))!r} beside a list of types")
            return {"anyOf": [self._typed({"type": kind}, path, refs) for kind in kinds]}
        if kinds not in _KEYWORDS:
            _refuse(path, f"the type {kinds!r}")
        _only(kept, _KEYWORDS[kinds], path, f"for type {kinds}")
        make = getattr(self, f"_{kinds}", None)
        return make(kept, path, refs) if make else {"type": kinds}

    def _object(self, kept: Schema, path: str, refs: tuple[str, ...]) -> Schema:
        extra = kept.get("additionalProperties", False)
        if not isinstance(extra, bool):
            _refuse(path, "additionalProperties with a schema")
        properties = kept.get("properties")
        if properties is None:
            if kept.get("required"):
                _refuse(path, "required without properties")
            return {"type": "object"} if "additionalProperties" not in kept or extra else {"type": "object", "properties": {}}
        for name in properties:
            _literal(name, path)
        for name in kept.get("required", ()):
            if name not in properties:
                _refuse(path, f"the required property {name!r}, which is not among the properties")
        made = {name: self.visit(part, f"{path}/properties/{name}", refs) for name, part in properties.items()}
        # properties that are not named may always be left out, so that none is ever made up
        return {"type": "object", "properties": made, "required": list(kept.get("required", ())), "additionalProperties": False}

    def _array(self, kept: Schema, path: str, refs: tuple[str, ...]) -> Schema:
        if "items" not in kept:
            _refuse(path, "an array without items")
        low, high = _bounds(kept, "minItems", "maxItems", path)
        items = self.visit(kept["items"], f"{path}/items", refs)
        return {"type": "array", "items": items, "minItems": low, **({"maxItems": high} if high is not None else {})}

    def _string(self, kept: Schema, path: str, refs: tuple[str, ...]) -> Schema:
        if "format" in kept and kept["format"] not in _FORMATS:
            _refuse(path, f"the format {kept['format']!r}")
        kinds = [kind for kind in ("pattern", "format") if kind in kept]
        if len(kinds) == 2 or (kinds and len(kept) > 1):
            _refuse(path, f"{' and '.join(sorted(kept))} together")
        if "pattern" in kept:
            try:
                return {"type": "string", "pattern": simple_pattern(kept["pattern"])}
            except ValueError as error:
                _refuse(path, f"the pattern {kept['pattern']!r}: {error}")
        if "format" in kept or not kept:
            return {"type": "string", **kept}
        low, high = _bounds(kept, "minLength", "maxLength", path)
        return {"type": "string", "minLength": low, **({"maxLength": high} if high is not None else {})}

    def _integer(self, kept: Schema, path: str, refs: tuple[str, ...]) -> Schema:
        if not kept:
            return {"type": "integer"}
        low, high = kept.get("minimum"), kept.get("maximum")
        if high is None and low in OPEN_INTEGERS:
            return {"const": OPEN_INTEGERS[low][0]}
        if not isinstance(low, int) or not isinstance(high, int):
            _refuse(path, f"{next(iter(kept))!r} alone (but for a minimum of 0 or 1, an integer needs minimum and maximum)")
        if not 0 <= high - low < _MOST_INTEGERS:
            _refuse(path, f"a range of {high - low + 1} integers (1 to {_MOST_INTEGERS} are held to)")
        return {"enum": list(range(low, high + 1))}


def _refuse(path: str, what: str) -> NoReturn:
    raise Unsupported(f"{what} at {path}")


def _only(kept: Schema, allowed: frozenset[str] | set[str], path: str, where: str) -> None:
    for key in kept:
        if key not in allowed:
            _refuse(path, f"the keyword {key!r} {where}")


def _bounds(kept: Schema, low_key: str, high_key: str, path: str) -> tuple[int, int | None]:
    low, high = kept.get(low_key, 0), kept.get(high_key)
    for value in (low, high):
        if value is not None and (not isinstance(value, int) or not 0 <= value <= _MOST_REPEATS):
            _refuse(path, f"a bound of {value!r} ({low_key} and {high_key} may be 0 to {_MOST_REPEATS})")
    if high is not None and high < low:
        _refuse(path, f"{high_key} below {low_key}")
    return low, high


def _is(value: Any, kind: str) -> bool:
    kinds = {"string": str, "integer": int, "number": int, "boolean": bool, "null": type(None)}
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, kinds.get(kind, ()))


_PLAIN = re.compile(r'[^"\\\x00-\x1f\x7f\ud800-\udfff\U00010000-\U0010ffff]*')


def _literal(text: str, path: str) -> None:
    """Refuse text that the converter would write wrongly into a grammar."""
    if not _PLAIN.fullmatch(text) or any(text == stand_in for stand_in, _ in OPEN_INTEGERS.values()):
        _refuse(path, f"the text {text!r} (quotes, backslashes, control characters and emoji cannot be held to)")
