"""Strings and numbers of a schema as sequences; what no grammar is made for is refused by name and path."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

from pillm_llamacpp.grammars import lengths, numbers, quoted
from pillm_llamacpp.grammars.keywords import Schema, above, below, bound, bounds, none, refuse
from pillm_llamacpp.grammars.patterns import pattern_expression
from pillm_llamacpp.grammars.sequences import Sequence, rule


def string(kept: Schema, path: str, name: Callable[[str], Sequence]) -> Sequence:
    """Return a string of a length, a pattern or a format; `name` makes an expression a rule."""
    if "pattern" in kept and "format" in kept:
        refuse(path, "format and pattern together")
    low, high = bounds(kept, "minLength", "maxLength", path)
    if not kept:
        return rule("string")
    if "pattern" in kept:
        try:
            expression = pattern_expression(kept["pattern"])
        except ValueError as error:
            refuse(path, f"the pattern {kept['pattern']!r}: {error}")
    elif "format" in kept:
        if kept["format"] not in quoted.FORMATS:
            refuse(path, f"the format {kept['format']!r}")
        expression = quoted.FORMATS[kept["format"]]
    else:
        return name(quoted.of_length(low, high))
    try:
        held = lengths.held(expression, low, high, name) if low or high is not None else expression
    except lengths.TooMany:
        refuse(path, f"{' and '.join(sorted(kept))} together, which take too many rules,")
    return name(quoted.quoted(held)) if held is not None else none(path, f"texts of {' and '.join(sorted(kept))}")


def integer(kept: Schema, path: str, name: Callable[[str], Sequence]) -> Sequence:
    """Return an integer within bounds; `name` makes an expression a rule."""
    if kept.pop("multipleOf", 1) != 1:
        refuse(path, "the keyword 'multipleOf' for type integer")
    if not kept:
        return name(numbers.ANY_INTEGER)
    low = max(math.ceil(bound(kept, "minimum", -numbers.MOST, path)), above(kept, path))
    high = min(math.floor(bound(kept, "maximum", numbers.MOST, path)), below(kept, path))
    if low > high:
        none(path, f"integers from {low} to {high}")
    return name(numbers.integers(low, high))


def number(kept: Schema, path: str, name: Callable[[str], Sequence]) -> Sequence:
    """Return a number within bounds; `name` makes an expression a rule."""
    if not kept:
        return rule("number")
    said = {key: Decimal(repr(bound(kept, key, 0, path))) for key in kept}
    most, endless = Decimal(numbers.MOST), Decimal("Infinity")
    low, beyond = max([(said.get("minimum", -most), False), (said.get("exclusiveMinimum", -endless), True)])
    high, upto = min([(said.get("maximum", most), True), (said.get("exclusiveMaximum", endless), False)])
    found = numbers.numbers(low, high, above=beyond, below=not upto)
    return name(found) if found else none(path, f"numbers from {low} to {high}")
