from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pillm_llamacpp.grammars.exclusive import Exclusion
from pillm_llamacpp.grammars.schemas import _Writer


def overlapping(*choices: Any, **rest: Any) -> tuple[int, int] | None:
    root = {"oneOf": list(choices), **rest}
    return Exclusion(lambda part: _Writer(root)._flat(part, "#", ()), Draft202012Validator(root)).overlapping(list(choices))


def thing(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


@pytest.mark.parametrize(
    "choices",
    [
        ({"type": "string"}, {"type": "integer"}, {"type": ["null", "boolean"]}),
        ({"enum": ["a", 1]}, {"const": "b"}, {"type": "null"}),
        ({"const": "abc"}, {"type": "string", "maxLength": 2}),
        (thing(["kind"], kind={"const": "a"}), thing(["kind"], kind={"const": "b"}, more={})),
        (thing(["a"], a={}), thing(["b"], b={})),
        ({"$ref": "#/$defs/a"}, {"type": "object", "additionalProperties": False}),
        ({"anyOf": [{"type": "null"}, {"const": 1}]}, {"anyOf": [{"type": "string"}, {"const": 2}]}),
    ],
)
def test_choices_that_exclude_each_other_are_told(choices: tuple[Any, ...]) -> None:
    defined = {"a": {"allOf": [thing(["a"], a={}), {"maxProperties": 3}]}}
    assert overlapping(*choices, **{"$defs": defined}) is None


@pytest.mark.parametrize(
    "choices",
    [
        ({"type": "integer"}, {"type": "number"}),
        ({"type": "string"}, {"type": "string", "maxLength": 2}),
        ({"type": "string"}, {"const": "a"}),
        (thing(["a"], a={}), thing(["a"], a={}, b={})),
        (thing([], kind={"const": "a"}), thing([], kind={"const": "b"})),
        ({"minimum": 3}, {"type": "string"}),
    ],
)
def test_choices_that_may_both_hold_are_named(choices: tuple[Any, ...]) -> None:
    assert overlapping(*choices) == (0, 1)
