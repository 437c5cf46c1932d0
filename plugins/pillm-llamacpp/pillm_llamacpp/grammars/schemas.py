"""The JSON Schemas that a grammar can hold an answer to; anything else is refused by name.

A grammar never allows more than its schema. Where it allows less, the answers are still ones that the schema allows:
properties that are not named are left out, letters of a format are the usual ones.
"""

from __future__ import annotations

import json
import math
from typing import Any

from pillm_llamacpp.grammars import numbers, quoted
from pillm_llamacpp.grammars.keywords import Schema, above, below, bound, bounds, check_text, is_of, only, refuse
from pillm_llamacpp.grammars.objects import members
from pillm_llamacpp.grammars.patterns import pattern_expression
from pillm_llamacpp.grammars.sequences import BLANK, Sequence, constant, letters, rule, union

_NOTES = frozenset({
    "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly",
    "$schema", "$id", "$comment", "$defs", "definitions",
})  # fmt: skip
_KEYWORDS = {
    "object": frozenset(("properties", "required", "additionalProperties")),
    "array": frozenset(("items", "minItems", "maxItems")),
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
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            refuse(path, f"a schema of more than {_MOST_NODES} parts")
        if schema is True:
            return rule("value")
        if not isinstance(schema, dict):
            refuse(path, f"the schema {json.dumps(schema)}")
        kept = {key: value for key, value in schema.items() if key not in _NOTES}
        if "$ref" in kept:
            return self._reference(kept, path, refs)
        if "allOf" in kept:
            return self.visit(self._merged(kept, path), path, refs)
        for key in ("anyOf", "oneOf"):
            if key in kept:
                return self._union(kept, key, path, refs)
        if "const" in kept or "enum" in kept:
            return self._values(kept, path)
        return self._typed(kept, path)

    def _reference(self, kept: Schema, path: str, refs: tuple[str, ...]) -> Sequence:
        only(kept, {"$ref"}, path, "beside $ref")
        ref = kept["$ref"]
        if ref in refs:
            refuse(path, f"the reference {ref!r}, which leads to itself")
        if ref in self._open:
            return rule(self._open[ref])
        target = self._target(ref, path)
        self._open[ref] = name = f"ref-{len(self._open)}-{self._nodes}"
        found = self.visit(target, ref, (*refs, ref))
        del self._open[ref]
        if any(f"{name} " in f"{body} " for body in self.rules.values()) or (False, name) in found:
            self.rules[name] = union([found])
            return rule(name)
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

    def _merged(self, kept: Schema, path: str) -> Schema:
        """Return one schema for all the parts of an allOf, as far as they say different things."""
        made = {key: value for key, value in kept.items() if key != "allOf"}
        for number, part in enumerate(kept["allOf"]):
            where = f"{path}/allOf/{number}"
            for _ in range(20):
                if not (isinstance(part, dict) and set(part) - _NOTES == {"$ref"}):
                    break
                part = self._target(part["$ref"], where)
            if not isinstance(part, dict) or "$ref" in part:
                refuse(where, "this part of an allOf")
            for key, value in part.items():
                if key in _NOTES or made.get(key) == value:
                    continue
                if key == "required":
                    made[key] = list(dict.fromkeys([*made.get(key, ()), *value]))
                elif key == "properties" and not set(made.get(key, ())) & set(value):
                    made[key] = {**made.get(key, {}), **value}
                elif key in made or key == "additionalProperties":
                    refuse(where, f"the keyword {key!r} in an allOf that says it otherwise elsewhere")
                else:
                    made[key] = value
        return made

    def _union(self, kept: Schema, key: str, path: str, refs: tuple[str, ...]) -> Sequence:
        choices = kept[key]
        rest = {name: value for name, value in kept.items() if name != key}
        if not isinstance(choices, list) or not choices:
            refuse(path, f"an empty {key}")
        if rest.keys() - {"type"} or any(not isinstance(one, dict) for one in choices):
            only(rest, {"type"}, path, f"beside {key}")
        typed = [{**rest, **one} if not {"$ref", "anyOf", "oneOf", "allOf"} & one.keys() else one for one in choices]
        return self.name(union(self.visit(one, f"{path}/{key}/{place}", refs) for place, one in enumerate(typed)))

    def _values(self, kept: Schema, path: str) -> Sequence:
        only(kept, {"const", "enum", "type"}, path, "beside enum or const")
        values = [kept["const"]] if "const" in kept else kept["enum"]
        if not isinstance(values, list) or not values or ("const" in kept and "enum" in kept):
            refuse(path, "this mixture of enum and const")
        kinds = kept.get("type")
        for value in values:
            try:
                json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
            except ValueError as error:
                refuse(path, f"the value {value!r} in an enum ({error})")
            if kinds is not None and not any(is_of(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
                refuse(path, f"the value {json.dumps(value)}, which is not of the type beside it")
        return constant(values[0]) if len(values) == 1 else self.name(union(map(constant, values)))

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
            return self.name(union(self._typed(part, path) for part in parts))
        if kinds not in _KEYWORDS:
            refuse(path, f"the type {kinds!r}")
        only(kept, _KEYWORDS[kinds], path, f"for type {kinds}")
        made: Sequence = getattr(self, f"_{kinds}")(kept, path)
        return made

    def _object(self, kept: Schema, path: str) -> Sequence:
        extra, properties = kept.get("additionalProperties", True), kept.get("properties")
        if not isinstance(extra, (bool, dict)):
            refuse(path, f"additionalProperties {extra!r}")
        for name in kept.get("required", ()):
            if name not in (properties or ()):
                refuse(path, f"the required property {name!r}, which is not among the properties")
        if properties is None and extra is True:
            return rule("any-object")
        if properties is None and extra is not False:
            member = union([rule("string") + letters(":") + BLANK + self.visit(extra, f"{path}/additionalProperties", ())])
            return self.name(f'"{{" ws ( {member} ( "," ws {member} )* )? ws "}}"')
        # properties that are not named may always be left out, so that none is ever made up
        made = {name: self.visit(part, f"{path}/properties/{name}", ()) for name, part in (properties or {}).items()}
        for name in made:
            check_text(name, path)
        return members(made, kept.get("required", ()), self.name)

    def _array(self, kept: Schema, path: str) -> Sequence:
        low, high = bounds(kept, "minItems", "maxItems", path)
        if high == 0:
            return self.name('"[" ws "]"')
        item = union([self.name(union([self.visit(kept.get("items", True), f"{path}/items", ())]))])
        more = f'( "," ws {item} )' + (f"{{{max(0, low - 1)},{'' if high is None else high - 1}}}" if low > 1 or high else "*")
        inner = f"{item} {more}" if high != 1 else item
        return self.name(f'"[" ws {inner} ws "]"' if low else f'"[" ws ( {inner} )? ws "]"')

    def _string(self, kept: Schema, path: str) -> Sequence:
        kinds = [kind for kind in ("pattern", "format") if kind in kept]
        if len(kinds) == 2 or (kinds and len(kept) > 1):
            refuse(path, f"{' and '.join(sorted(kept))} together")
        if "pattern" in kept:
            try:
                return self.name(quoted.quoted(pattern_expression(kept["pattern"])))
            except ValueError as error:
                refuse(path, f"the pattern {kept['pattern']!r}: {error}")
        if "format" in kept:
            if kept["format"] not in quoted.FORMATS:
                refuse(path, f"the format {kept['format']!r}")
            return self.name(quoted.quoted(quoted.FORMATS[kept["format"]]))
        if not kept:
            return rule("string")
        return self.name(quoted.of_length(*bounds(kept, "minLength", "maxLength", path)))

    def _integer(self, kept: Schema, path: str) -> Sequence:
        if kept.pop("multipleOf", 1) != 1:
            refuse(path, "the keyword 'multipleOf' for type integer")
        if not kept:
            return self.name(numbers.ANY_INTEGER)
        low = max(math.ceil(bound(kept, "minimum", -numbers.MOST, path)), above(kept, path))
        high = min(math.floor(bound(kept, "maximum", numbers.MOST, path)), below(kept, path))
        if low > high:
            refuse(path, f"integers from {low} to {high}, of which there are none,")
        return self.name(numbers.integers(low, high))

    def _number(self, kept: Schema, path: str) -> Sequence:
        if not kept:
            return rule("number")
        said = {key: bound(kept, key, 0, path) for key in kept}
        if any(value != int(value) for value in said.values()):
            refuse(path, "a bound of a number that is no integer")
        low, above = max([(said.get("minimum", -numbers.MOST), False), (said.get("exclusiveMinimum", -math.inf), True)])
        high, below = min([(said.get("maximum", numbers.MOST), True), (said.get("exclusiveMaximum", math.inf), False)])
        found = numbers.numbers(int(low), int(high), above=above, below=not below)
        return self.name(found) if found else refuse(path, f"numbers from {low} to {high}, of which there are none,")

    def _boolean(self, _kept: Schema, _path: str) -> Sequence:
        return self.name('"true" | "false"')

    def _null(self, _kept: Schema, _path: str) -> Sequence:
        return letters("null")
