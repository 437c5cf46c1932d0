"""A schema with its inner references written out: a validator that follows none takes half the time for each answer."""

from __future__ import annotations

from typing import Any

_MOST = 20_000
"""Parts after which a schema is left as it is: references to references can multiply."""

_WORDS = frozenset(("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"))
"""Keywords that say nothing of what is valid, and hold nothing that a reference leads to."""


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that says the same with references to its own parts written out, as far as that ends.

    What refers to itself keeps its reference, which leads to the definition that stands where it stood. Where parts have
    names of their own (`$id`, `$anchor`), or writing out grows beyond bounds, the schema is returned as it is.
    """
    try:
        return dict(_Inlining(schema).part(schema, ()))
    except _Named:
        return schema


class _Named(Exception):
    """References go by another name than a path from the root, or there are too many of them."""


class _Inlining:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root, self._parts = root, 0

    def part(self, part: Any, within: tuple[str, ...]) -> Any:
        """Return a part written out; `within` are the references that led to it."""
        self._parts += 1
        if self._parts > _MOST or len(within) > 50:
            raise _Named
        if isinstance(part, list):
            return [self.part(one, within) for one in part]
        if not isinstance(part, dict):
            return part
        if {"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$schema"} & part.keys() - (
            {"$schema"} if part is self._root else set()
        ):
            raise _Named
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/") and reference not in within:
            target = self.part(self._target(reference), (*within, reference))
            beside = {key: value for key, value in part.items() if key != "$ref" and key not in _WORDS}
            if not beside:
                return target
            return {**self.part(beside, within), "allOf": [*self.part(beside.get("allOf", []), within), target]}
        return {
            key: value if key in ("const", "enum", "default", "examples") else self.part(value, within)
            for key, value in part.items()
        }

    def _target(self, reference: str) -> Any:
        found: Any = self._root
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if "%" in name or not isinstance(found, dict) or name not in found:
                raise _Named
            found = found[name]
        return found
