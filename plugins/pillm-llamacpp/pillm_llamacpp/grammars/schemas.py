"""The JSON Schemas that a grammar can hold an answer to; anything else is refused by name.

A grammar never allows more than its schema. Where it allows less, the answers are still ones that the schema allows:
properties that are not named are left out, letters of a format are the usual ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from jsonschema import Draft202012Validator

from pillm_llamacpp.grammars import numbers, quoted, scalars
from pillm_llamacpp.grammars.containers import array_of, object_of
from pillm_llamacpp.grammars.exclusive import Exclusion
from pillm_llamacpp.grammars.keywords import Impossible, Schema, none, only, refuse
from pillm_llamacpp.grammars.merging import conjoined
from pillm_llamacpp.grammars.sequences import Sequence, constant, letters, rule, union

_NOTES = frozenset({
    "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly",
    "$schema", "$id", "$comment", "$defs", "definitions", "discriminator",
})  # fmt: skip
_KEYWORDS = {
    "object": frozenset(
        (
            "properties",
            "required",
            "additionalProperties",
            "minProperties",
            "maxProperties",
            "propertyNames",
        )
    ),
    "array": frozenset(("items", "minItems", "maxItems", "prefixItems", "uniqueItems")),
    "string": frozenset(("minLength", "maxLength", "pattern", "format")),
    "integer": frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
    "number": frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")),
    "boolean": frozenset(),
    "null": frozenset(),
}
_ANY = {
    "value": "any-object | any-array | string | number | \"true\" | \"false\" | \"null\"",
    "any-object": '"{" ws ( string ":" ws value ( "," ws string ":" ws value )* )? ws "}"',
    "any-array": '"[" ws ( value ( "," ws value )* )? ws "]"',
    "number": numbers.ANY_NUMBER,
}  # fmt: skip
_SCALARS = {"string": scalars.string, "integer": scalars.integer, "number": scalars.number}
_MOST_NODES = 4000


def grammar_of(schema: Any) -> str:
    """Return the grammar of a schema, its root first; raise Unsupported naming the first construct that has none."""
    writer = _Writer(schema)
    root = union([writer.visit(schema, "#", ())])
    rules = {"root": root, **writer.rules, **quoted.RULES, **_ANY}
    return "".join(f"{name} ::= {body}\n" for name, body in rules.items())


class _Writer:
    """Turns each part of a schema into a sequence; what is long or repeated becomes a rule."""

    def __init__(self, root: Any) -> None:
        self._root, self._nodes = root, 0
        self.validator: Any = Draft202012Validator(root)
        self._open: dict[str, str] = {}
        self.rules: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def name(self, body: str) -> Sequence:
        """Return a rule of that body; bodies that are the same are one rule."""
        if body not in self._names:
            self._names[body] = f"r{len(self._names)}"
            self.rules[self._names[body]] = body
        return rule(self._names[body])

    def visit(self, schema: Any, path: str, refs: tuple[str, ...]) -> Sequence:
        """Return the sequence of a part; `refs` are the references that led here without anything being written."""
        self._count(path)
        if schema is True:
            return rule("value")
        if not isinstance(schema, dict):
            raise Impossible(f"the schema {json.dumps(schema)} at {path}")
        kept = _without_notes(schema)
        if kept.keys() == {"allOf"} and len(kept["allOf"]) == 1:
            return self.visit(kept["allOf"][0], f"{path}/allOf/0", refs)
        if "$ref" in kept or "allOf" in kept:
            return self._composed(kept, path, refs)
        return self._plain(kept, path, refs)

    def _plain(self, kept: Schema, path: str, refs: tuple[str, ...]) -> Sequence:
        """Return the sequence of a part without references or an allOf of its own."""
        if "const" in kept or "enum" in kept:
            values = self._values(kept, path)
            return constant(values[0]) if len(values) == 1 else self.name(union(map(constant, values)))
        for key in ("anyOf", "oneOf"):
            if key in kept:
                return self._union(kept, key, path, refs)
        return self._typed(kept, path)

    def _composed(self, kept: Schema, path: str, refs: tuple[str, ...]) -> Sequence:
        """Return what a reference leads to, or several parts at once; a rule where it is reached again from within."""
        alone = kept["$ref"] if kept.keys() == {"$ref"} else None
        key = alone or json.dumps(kept)
        if key in refs:
            refuse(path, f"the reference {alone or kept.get('$ref', 'of an allOf')!r}, which leads to itself")
        if key in self._open:
            return rule(self._open[key])
        self._open[key] = name = f"ref-{len(self._open)}-{self._nodes}"
        try:
            if alone is not None:
                found = self.visit(self._target(alone, path), alone, (*refs, key))
            else:
                found = self._plain(self._flat(kept, path, ()), path, (*refs, key))
        finally:
            del self._open[key]
        if any(f"{name} " in f"{body} " for body in self.rules.values()) or (False, name) in found:
            self.rules[name] = union([found])
            return rule(name)
        return found

    def _flat(self, schema: Any, path: str, seen: tuple[str, ...]) -> Schema:
        """Return a part in one with what it refers to and with the parts of its allOf."""
        if not isinstance(schema, dict):
            return {} if schema is True else none(path, f"values of the schema {json.dumps(schema)}")
        kept = _without_notes(schema)
        parts, ref = kept.pop("allOf", []), kept.pop("$ref", None)
        if ref is not None:
            if ref in seen:
                refuse(path, f"the reference {ref!r}, which leads to itself")
            kept = conjoined(self._flat(self._target(ref, path), path, (*seen, ref)), kept, path)
        for number, part in enumerate(parts):
            where = f"{path}/allOf/{number}"
            kept = conjoined(kept, self._flat(part, where, seen), where)
        return kept

    def _count(self, path: str) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            refuse(path, f"a schema of more than {_MOST_NODES} parts")

    def possible(self, parts: Iterable[Callable[[], Sequence]]) -> list[Sequence]:
        """Return the sequences of those parts that something satisfies; raise Impossible where none is."""
        found, last = [], None
        for part in parts:
            rules, names = len(self.rules), len(self._names)
            try:
                found.append(part())
            except Impossible as error:
                last = error
                for kept, count in ((self.rules, rules), (self._names, names)):
                    while len(kept) > count:  # what was named on the way may refer to what is never written
                        kept.popitem()
        if last and not found:
            raise last
        return found

    def _target(self, ref: Any, path: str) -> Any:
        if ref == "#":
            return self._root
        if not isinstance(ref, str) or not ref.startswith("#/"):
            refuse(path, f"the reference {ref!r} (only '#/...' is followed)")
        target = self._root
        for step in ref[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or name not in target:
                refuse(path, f"the reference {ref!r}, which leads nowhere")
            target = target[name]
        return target

    def _union(self, kept: Schema, key: str, path: str, refs: tuple[str, ...]) -> Sequence:
        choices, rest = kept[key], {name: value for name, value in kept.items() if name != key}
        held = [{"allOf": [rest, one]} if rest else one for one in choices]
        if key == "oneOf" and (found := Exclusion(lambda part: self._flat(part, path, ()), self.validator).overlapping(held)):
            refuse(path, f"a oneOf whose choices {found[0]} and {found[1]} may both hold for one answer (anyOf allows that)")
        parts = (partial(self.visit, one, f"{path}/{key}/{place}", refs) for place, one in enumerate(held))
        return self.name(union(self.possible(parts)))

    def _values(self, kept: Schema, path: str) -> list[Any]:
        """Return the values of a constant or an enum that satisfy whatever else stands there."""
        key = "const" if "const" in kept else "enum"
        values = [kept[key]] if key == "const" else kept[key]
        rest = {name: value for name, value in kept.items() if name != key}
        for value in values:
            try:
                json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
            except ValueError as error:
                refuse(path, f"the value {value!r} in an enum ({error})")
        valid = self.validator.evolve(schema=rest).is_valid if rest else bool
        return [value for value in values if not rest or valid(value)] or none(path, f"values of an {key}")

    def few(self, schema: Any, path: str) -> list[Any] | None:
        """Return the different values that satisfy a part, where it tells them one by one."""
        kept = self._flat(schema, path, ())
        if "const" in kept or "enum" in kept:
            found = self._values(kept, path)
        elif kept in ({"type": "boolean"}, {"type": "null"}):
            found = [True, False] if kept["type"] == "boolean" else [None]
        else:
            return None
        if not all(isinstance(value, (str, int, float, type(None))) for value in found):
            return None
        different: dict[tuple[bool, Any], Any] = {}
        for value in found:  # 1 and 1.0 are one value, 1 and true are two
            different.setdefault((isinstance(value, bool), value), value)
        return list(different.values())

    def _typed(self, kept: Schema, path: str) -> Sequence:
        kinds = kept.pop("type", None)
        if kinds is None and not kept:
            return rule("value")
        if kinds is None:
            able = [kind for kind, known in _KEYWORDS.items() if kept.keys() & known]
            kinds = able[0] if len(able) == 1 else refuse(path, f"the keyword {next(iter(kept))!r} without a type")
        if isinstance(kinds, list):
            known = frozenset().union(*(_KEYWORDS.get(kind, frozenset()) for kind in kinds))
            only(kept, known, path, f"for the types {', '.join(map(str, kinds))}")
            parts = [{"type": kind, **{key: kept[key] for key in kept.keys() & _KEYWORDS.get(kind, ())}} for kind in kinds]
            return self.name(union(self.possible(partial(self._typed, part, path) for part in parts)))
        if kinds not in _KEYWORDS:
            refuse(path, f"the type {kinds!r}")
        only(kept, _KEYWORDS[kinds], path, f"for type {kinds}")
        return self._of_type(kinds, kept, path)

    def _of_type(self, kind: str, kept: Schema, path: str) -> Sequence:
        if kind in _SCALARS:
            return _SCALARS[kind](kept, path, self.name)
        if kind in ("object", "array"):
            return (object_of if kind == "object" else array_of)(self, kept, path)
        return letters("null") if kind == "null" else self.name('"true" | "false"')


def _without_notes(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key not in _NOTES}
