"""Ask a server for JSON: the row's schema as `response_format`, in the strict form where that changes nothing."""

from __future__ import annotations

import json
import re
from typing import Any

JSONObject = dict[str, Any]

_NOTES = frozenset({"$schema", "$id", "$comment", "default", "examples", "deprecated", "readOnly", "writeOnly"})
_STRICT = frozenset({
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs",
    "definitions", "title", "description", "pattern", "format", "multipleOf", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
})  # fmt: skip
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_LOOKING_AROUND = re.compile(r"\(\?[=!<]|\\[1-9]")
# what OpenAI documents as the most that a strict schema may hold; a larger one would be refused as wrong
_MOST_PROPERTIES, _MOST_LEVELS, _MOST_ENUMS, _MOST_LETTERS = 5000, 10, 1000, 120_000
_LONG_ENUM, _MOST_LETTERS_OF_A_LONG_ENUM = 250, 15_000


class _NotStrict(Exception):
    """The schema says something that the strict form cannot say."""


def response_format(schema: JSONObject, name: str | None, messages: list[JSONObject]) -> JSONObject | None:
    """Return the `response_format` for a row's schema, or None where the server cannot be asked for it.

    A strict schema is never wider than the row's: whatever satisfies it satisfies the row's.
    """
    if not schema:  # "some JSON": OpenAI takes this form only where the conversation mentions JSON
        return {"type": "json_object"} if "json" in json.dumps(messages).casefold() else None
    strict = strict_form(schema)
    wanted = schema if strict is None else strict
    title = name if name and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) else "answer"
    return {"type": "json_schema", "json_schema": {"name": title, "schema": wanted, "strict": strict is not None}}


def strict_form(schema: JSONObject) -> JSONObject | None:
    """Return the schema in OpenAI's strict subset, or None where that would change what it allows."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return None
    try:
        narrowed = _narrowed(schema)
        return narrowed if _within_limits(narrowed) else None
    except (_NotStrict, RecursionError, TypeError, AttributeError):  # the last two: the schema is no schema
        return None


def _narrowed(node: Any) -> JSONObject:
    if not isinstance(node, dict):
        raise _NotStrict
    kept = {key: value for key, value in node.items() if key not in _NOTES}
    if not kept.keys() <= _STRICT or not kept.keys() & {"type", "anyOf", "$ref", "enum", "const"}:
        raise _NotStrict
    if not str(kept.get("$ref", "#")).startswith("#"):
        raise _NotStrict
    if kept.get("format", "uuid") not in _FORMATS or _LOOKING_AROUND.search(kept.get("pattern", "")):
        raise _NotStrict
    for key in ("$defs", "definitions"):
        if key in kept:
            kept[key] = _each(kept[key])
    if "anyOf" in kept:
        kept["anyOf"] = [_narrowed(item) for item in kept["anyOf"]]
    kind = kept.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if "object" in kinds or "properties" in kept:
        kept = _closed(kept, kinds)
    if "array" in kinds or "items" in kept:
        kept["items"] = _narrowed(kept.get("items"))
    return kept


def _closed(node: JSONObject, kinds: list[Any]) -> JSONObject:
    """Return an object schema without further properties and with every property required."""
    properties = node.get("properties")
    if "object" not in kinds or not properties or node.get("additionalProperties", False) is not False:
        raise _NotStrict
    required = set(node.get("required", ()))
    for name, spec in properties.items():
        if name not in required and not _may_be_null(spec):
            raise _NotStrict  # to require it would make the model invent a value
    return {**node, "properties": _each(properties), "required": list(properties), "additionalProperties": False}


def _each(specs: Any) -> JSONObject:
    if not isinstance(specs, dict):
        raise _NotStrict
    return {name: _narrowed(spec) for name, spec in specs.items()}


def _may_be_null(spec: Any) -> bool:
    if not isinstance(spec, dict) or ("enum" in spec and None not in spec["enum"]):
        return False
    kinds = spec.get("type")
    return kinds == "null" or (isinstance(kinds, list) and "null" in kinds) or any(map(_may_be_null, spec.get("anyOf", ())))


def _within_limits(schema: JSONObject) -> bool:
    """Return whether a schema is as small as the strict form has to be."""
    properties, enums, letters, deepest = 0, 0, 0, 0
    todo: list[tuple[Any, int]] = [(schema, 1)]
    while todo:
        node, level = todo.pop()
        fields = node.get("properties", {})
        level_below = level + 1 if fields else level
        named = [*fields, *node.get("$defs", {}), *node.get("definitions", {})]
        values = [value for value in (*node.get("enum", ()), node.get("const")) if isinstance(value, str)]
        properties, enums = properties + len(fields), enums + len(node.get("enum", ()))
        letters += sum(map(len, (*named, *values)))
        deepest = max(deepest, level if fields else 0)
        if len(values) > _LONG_ENUM and sum(map(len, values)) > _MOST_LETTERS_OF_A_LONG_ENUM:
            return False
        below = [*fields.values(), *node.get("anyOf", ()), *([node["items"]] if "items" in node else [])]
        todo += [(each, level_below) for each in below]
        todo += [(each, 1) for each in (*node.get("$defs", {}).values(), *node.get("definitions", {}).values())]
    return properties <= _MOST_PROPERTIES and enums <= _MOST_ENUMS and letters <= _MOST_LETTERS and deepest <= _MOST_LEVELS
