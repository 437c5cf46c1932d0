"""Parts that nothing satisfies are left out where they may be, and counts are kept."""

from __future__ import annotations

from typing import Any

import pytest
from pillm_llamacpp.grammars.containers import array_of, object_of
from pillm_llamacpp.grammars.keywords import Impossible, Unsupported
from pillm_llamacpp.grammars.schemas import _Writer
from pillm_llamacpp.grammars.sequences import Sequence, rule, union
from pillm_llamacpp_walks import regex


class Inline(_Writer):
    """Writes each rule where it is used."""

    def name(self, body: str) -> Sequence:
        return rule(f"( {body} )")


ONE, NEVER = {"const": 1}, {"allOf": [{"type": "null"}, {"type": "string"}]}


@pytest.mark.parametrize(
    ("kept", "allowed", "refused"),
    [
        ({"properties": {"a": ONE, "b": NEVER}}, ["{}", '{"a": 1}'], ['{"b": 1}']),
        ({"properties": {"a": ONE, "b": ONE, "c": ONE}, "minProperties": 2},
         ['{"a":1,"c":1}', '{"a":1,"b":1,"c":1}'], ["{}", '{"b":1}']),
        ({"properties": {"a": ONE, "b": ONE, "c": ONE}, "maxProperties": 2, "required": ["b"]},
         ['{"b":1}', '{"b":1,"c":1}'], ["{}", '{"a":1}', '{"b":1,"a":1,"c":1}']),
        ({"properties": {"a": ONE}, "maxProperties": 0}, ["{}"], ['{"a":1}']),
        ({"additionalProperties": ONE, "minProperties": 1, "maxProperties": 2},
         ['{"x":1}', '{"x":1,"y":1}'], ["{}", '{"x":1,"y":1,"z":1}']),
        ({"additionalProperties": ONE, "propertyNames": {"enum": ["p", "q"]}}, ["{}", '{"p":1,"q":1}'], ['{"r":1}']),
        ({"properties": {"long": ONE, "s": ONE}, "propertyNames": {"maxLength": 2}}, ['{"s":1}'], ['{"long":1}']),
    ],
)  # fmt: skip
def test_an_object_has_the_members_that_it_may(kept: Any, allowed: list[str], refused: list[str]) -> None:
    expression = regex(union([object_of(Inline({}), kept, "#")]))
    assert [text for text in allowed if not expression.fullmatch(text)] == []
    assert [text for text in refused if expression.fullmatch(text)] == []


@pytest.mark.parametrize(
    ("kept", "allowed", "refused"),
    [
        ({"prefixItems": [ONE, {"const": 2}], "items": False}, ["[]", "[1]", "[1, 2]"], ["[2]", "[1,2,3]"]),
        ({"prefixItems": [ONE], "minItems": 2, "items": {"const": 3}}, ["[1,3]", "[1,3,3]"], ["[1]", "[1,1]"]),
        ({"prefixItems": [ONE, NEVER], "items": ONE}, ["[]", "[1]"], ["[1,1]"]),
        ({"items": NEVER}, ["[]"], ["[1]"]),
        ({"items": {"enum": [1, 1.0, True]}, "uniqueItems": True, "minItems": 1}, ["[1]", "[true,1]"], ["[]", "[1,1]"]),
        ({"items": {"type": "boolean"}, "uniqueItems": True, "maxItems": 1}, ["[]", "[true]"], ["[true,false]"]),
    ],
)
def test_an_array_has_the_items_that_it_may(kept: Any, allowed: list[str], refused: list[str]) -> None:
    expression = regex(union([array_of(Inline({}), kept, "#")]))
    assert [text for text in allowed if not expression.fullmatch(text)] == []
    assert [text for text in refused if expression.fullmatch(text)] == []


@pytest.mark.parametrize(
    ("write", "kept", "error"),
    [
        (object_of, {"properties": {"a": NEVER}, "required": ["a"]}, Impossible),
        (object_of, {"properties": {"a": {}, "b": {}}, "required": ["a", "b"], "maxProperties": 1}, Impossible),
        (object_of, {"properties": {f"p{n}": {} for n in range(60)}, "minProperties": 9}, Unsupported),
        (array_of, {"prefixItems": [ONE, NEVER], "minItems": 2}, Impossible),
        (array_of, {"prefixItems": [ONE], "items": False, "minItems": 2}, Impossible),
        (array_of, {"items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 3}, Impossible),
        (array_of, {"items": {"type": "string"}, "uniqueItems": True}, Unsupported),
        (array_of, {"prefixItems": [ONE, ONE], "uniqueItems": True}, Unsupported),
    ],
)
def test_what_nothing_satisfies_and_what_no_grammar_says_are_told_apart(write: Any, kept: Any, error: type[Exception]) -> None:
    with pytest.raises(Unsupported) as refused:
        write(_Writer({}), kept, "#")
    assert type(refused.value) is error
