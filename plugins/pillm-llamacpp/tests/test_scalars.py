from __future__ import annotations

from typing import Any

import pytest
from pillm_llamacpp.grammars.keywords import Impossible, Unsupported
from pillm_llamacpp.grammars.scalars import integer, number, string
from pillm_llamacpp.grammars.sequences import Sequence, rule, union
from pillm_llamacpp_walks import regex


def inline(body: str) -> Sequence:
    return rule(f"( {body} )")


@pytest.mark.parametrize(
    ("kind", "kept", "allowed", "refused"),
    [
        (string, {"pattern": "^[a-z]+$", "maxLength": 2}, ['"a"', '"ab"'], ['""', '"abc"', '"A"']),
        (string, {"format": "ipv4", "minLength": 8, "maxLength": 15}, ['"127.0.0.1"'], ['"1.1.1.1"']),
        (string, {"minLength": 1}, ['"a"'], ['""']),
        (integer, {"minimum": 0.5, "exclusiveMaximum": 2.5}, ["1", "2"], ["0", "3"]),
        (number, {"minimum": 0.25, "maximum": 1.5}, ["0.25", "0.3", "1", "1.5", "1.499"], ["0.2", "0.249", "1.51", "2"]),
        (number, {"exclusiveMinimum": -0.5, "exclusiveMaximum": 0.005}, ["-0.49", "0", "0.0049"], ["-0.5", "0.005", "-0.51"]),
        (number, {"minimum": 1e-7}, ["0.0000001", "1", "12.5"], ["0", "0.00000009"]),
    ],
)
def test_a_value_within_its_bounds_is_let_through(kind: Any, kept: Any, allowed: list[str], refused: list[str]) -> None:
    expression = regex(union([kind(kept, "#", inline)]))
    assert [text for text in allowed if not expression.fullmatch(text)] == []
    assert [text for text in refused if expression.fullmatch(text)] == []


@pytest.mark.parametrize(
    ("kind", "kept", "error"),
    [
        (string, {"pattern": "^abc$", "maxLength": 2}, Impossible),
        (string, {"format": "date", "pattern": "a"}, Unsupported),
        (integer, {"minimum": 0.2, "maximum": 0.8}, Impossible),
        (number, {"minimum": 0.8, "maximum": 0.2}, Impossible),
        (integer, {"multipleOf": 3}, Unsupported),
    ],
)
def test_what_nothing_satisfies_is_told_from_what_no_grammar_says(kind: Any, kept: Any, error: type[Exception]) -> None:
    with pytest.raises(Unsupported) as refused:
        kind(kept, "#", inline)
    assert type(refused.value) is error
