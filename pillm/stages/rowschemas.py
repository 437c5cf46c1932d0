"""The schemas of rows, checked before anything is asked: what cannot judge an answer must not cost one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from pillm.errors import DataError
from pillm.records import JSONObject, Prompt, schema_digest

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
"""Keywords whose schemas judge the very value that the schema around them judges; a circle of these never ends."""

_SOUND_KEPT = 10_000
_SOUND: set[str] = set()
"""The digests of schemas that were found sound: a run looks at the rows of several sets, which share theirs."""


def check_schemas(prompts: Iterable[Prompt]) -> None:
    """Raise DataError for the first row whose schema is wrong, refers outside itself, or refers to itself without end."""
    for prompt in prompts:
        if prompt.schema is None:
            continue
        try:
            key = schema_digest(prompt.schema)
            if key not in _SOUND:
                _check(prompt.schema)
        except ValueError as error:
            raise DataError(f"{prompt.where or prompt.id}: {error}. Mend the schema; nothing was asked.") from error
        if len(_SOUND) >= _SOUND_KEPT:
            _SOUND.clear()
        _SOUND.add(key)


def _check(schema: JSONObject) -> None:
    """Follow a schema into its parts and to what it refers to; raise ValueError with what is wrong."""
    from jsonschema.validators import Draft202012Validator, validator_for
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing import Resource
    from referencing.jsonschema import specification_with

    if type(schema.get("$schema", "")) is not str:
        raise ValueError("the schema itself is wrong: its '$schema' is no text")
    draft = validator_for(schema, default=Draft202012Validator)
    _check_form(draft, schema)
    dialect = specification_with(str(draft.META_SCHEMA.get("$schema")))
    root = dialect.create_resource(schema)
    formed = {id(schema)}
    judged_with: dict[int, list[int]] = {}
    waiting = [(root, REGISTRY.resolver_with_root(root))]  # what is in neither of the two cannot be found: nothing is fetched
    while waiting:
        part, resolver = waiting.pop()
        if not isinstance(part.contents, dict) or id(part.contents) in judged_with:
            continue
        parts = list(part.subresources())
        formed.update(id(inner.contents) for inner in parts)
        found = [_find(part.contents[name], resolver) for name in _REFERENCES if name in part.contents]
        for one in found:
            if id(one.contents) not in formed:  # it stands where no schema is looked for
                _check_form(validator_for(one.contents, default=draft), one.contents)
        judged_with[id(part.contents)] = [*map(id, _in_place(part.contents)), *(id(one.contents) for one in found)]
        waiting += [(Resource.from_contents(one.contents, default_specification=dialect), one.resolver) for one in found]
        waiting += [(inner, resolver.in_subresource(inner)) for inner in parts]
    try:
        TopologicalSorter(judged_with).prepare()
    except CycleError as error:
        raise ValueError("the schema refers to itself without end: each turn judges the same value again") from error


def _check_form(draft: type[Validator], schema: Any) -> None:
    from jsonschema.exceptions import SchemaError

    try:
        draft.check_schema(schema)
    except SchemaError as bad:
        raise ValueError(f"the schema itself is wrong at {bad.json_path}: {bad.message}") from bad
    except RecursionError as error:
        raise ValueError("the schema is nested too deeply") from error


def _find(reference: str, resolver: Any) -> Any:
    """Return what a reference points to, with the resolver to follow it further."""
    from referencing.exceptions import Unresolvable

    try:
        found = resolver.lookup(reference)
    except (Unresolvable, ValueError) as error:  # the latter: a word where a list wants a number
        raise ValueError(f"the schema refers to {reference!r}, which is not in it; nothing is fetched") from error
    if type(found.contents) not in (dict, bool):
        raise ValueError(f"the schema refers to {reference!r}, which is no schema")
    return found


def _in_place(schema: JSONObject) -> Iterator[object]:
    """Yield the parts of a schema that judge the same value as it does."""
    for name in _IN_PLACE:
        value = schema.get(name)
        if name.startswith("depend") and isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, list):
            yield from value
        elif isinstance(value, dict):
            yield value
