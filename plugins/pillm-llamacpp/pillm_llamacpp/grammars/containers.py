"""Objects and arrays of a schema as sequences, their parts written by whoever writes the schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from pillm_llamacpp.grammars import arrays, objects
from pillm_llamacpp.grammars.keywords import Impossible, Schema, bounds, check_text, none, refuse
from pillm_llamacpp.grammars.sequences import BLANK, Sequence, constant, letters, rule, union


class Writer(Protocol):
    """What turns each part of a schema into a sequence."""

    validator: Any

    def name(self, body: str) -> Sequence:
        """Return a rule of that body."""

    def visit(self, schema: Any, path: str, refs: tuple[str, ...]) -> Sequence:
        """Return the sequence of a part."""

    def possible(self, parts: Iterable[Callable[[], Sequence]]) -> list[Sequence]:
        """Return the sequences of those parts that something satisfies; raise Impossible where none is."""

    def few(self, schema: Any, path: str) -> list[Any] | None:
        """Return the different values that satisfy a part, where it tells them one by one."""


def object_of(writer: Writer, kept: Schema, path: str) -> Sequence:
    """Return an object: its named properties, or a map where none are named."""
    extra, properties, required = kept.get("additionalProperties", True), kept.get("properties"), kept.get("required", ())
    for name in required:
        if name not in (properties or ()):
            refuse(path, f"the required property {name!r}, which is not among the properties")
    if properties is None and extra is not False:
        return _map(writer, kept, extra, path)
    # properties that are not named may always be left out, so that none is ever made up
    made: dict[str, Sequence] = {}
    fits = writer.validator.evolve(schema=kept.get("propertyNames", True)).is_valid
    for name, part in (properties or {}).items():
        check_text(name, path)
        value = _part(writer, part if fits(name) else False, f"{path}/properties/{name}", needed=name in required)
        if value is not None:
            made[name] = value
    return objects.members(made, required, writer.name, _counts(kept, len(set(required)), len(made), path))


def _counts(kept: Schema, needed: int, named: int, path: str) -> tuple[int, int | None]:
    """Return how many of the properties that may be left out stand there at least, and at most."""
    low, high = bounds(kept, "minProperties", "maxProperties", path)
    if high is not None and high < needed:
        none(path, f"objects of at most {high} properties of which {needed} are required")
    if low > named:
        refuse(path, f"the keyword 'minProperties' of {low} where {named} properties are named")
    counts = max(0, low - needed), None if high is None or high >= named else high - needed
    if counts != (0, None) and not objects.few_enough(named - needed, counts):
        refuse(path, f"a count of properties where {named - needed} may be left out")
    return counts


def _map(writer: Writer, kept: Schema, extra: Any, path: str) -> Sequence:
    """Return an object of any names, or of such as `propertyNames` allows."""
    low, high = bounds(kept, "minProperties", "maxProperties", path)
    if low > 1:
        refuse(path, f"the keyword 'minProperties' of {low} where no properties are named")
    if extra is True and not kept.keys() & {"minProperties", "maxProperties", "propertyNames"}:
        return rule("any-object")
    if high == 0:
        return letters("{") + BLANK + letters("}")
    names = {"allOf": [{"type": "string"}, kept.get("propertyNames", True)]}
    key = writer.visit(names, f"{path}/propertyNames", ()) if "propertyNames" in kept else rule("string")
    member = union([key + letters(":") + BLANK + writer.visit(extra, f"{path}/additionalProperties", ())])
    more = f'( "," ws {member} )' + ("*" if high is None else f"{{0,{high - 1}}}")
    return writer.name(f'"{{" ws ( {member} {more} ){"" if low else "?"} ws "}}"')


def array_of(writer: Writer, kept: Schema, path: str) -> Sequence:
    """Return an array: items alike, a tuple, or a few known values without repeats."""
    low, high = bounds(kept, "minItems", "maxItems", path)
    if kept.get("uniqueItems") and (high is None or high > 1):
        return _different(writer, kept, low, high, path)
    firsts: list[Sequence] = []
    told = kept.get("prefixItems", [])[:high]
    for place, part in enumerate(told):
        item = _part(writer, part, f"{path}/prefixItems/{place}", needed=place < low)
        if item is None:
            return arrays.array(firsts, None, low, place, writer.name)
        firsts.append(item)
    # beyond a tuple, what nobody describes is left out where it may be
    items = kept.get("items", not told or low > len(told))
    more = None if high == len(firsts) else _part(writer, items, f"{path}/items", needed=low > len(firsts))
    return arrays.array(firsts, more and writer.name(union([more])), low, high, writer.name)


def _part(writer: Writer, schema: Any, path: str, *, needed: bool) -> Sequence | None:
    """Return the sequence of a part; None where nothing satisfies it and it need not be there."""
    try:
        return writer.possible([partial(writer.visit, schema, path, ())])[0]
    except Impossible:
        if needed:
            raise
        return None


def _different(writer: Writer, kept: Schema, low: int, high: int | None, path: str) -> Sequence:
    """Return an array without repeats, which a grammar can only say of a few known values."""
    values = None if "prefixItems" in kept else writer.few(kept.get("items", True), f"{path}/items")
    if values is None or not arrays.few_enough(len(values), high):
        refuse(path, "the keyword 'uniqueItems' for type array (of items that are not a few known values)")
    if low > len(values):
        none(path, f"arrays of {low} different items of {len(values)}")
    return arrays.without_repeats([constant(value) for value in values], low, high, writer.name)
