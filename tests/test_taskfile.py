"""What a task file may say, and the sentence for whatever does not fit."""

from __future__ import annotations

from typing import Any

import pytest

import pillm
from pillm.taskfile import TEMPLATES, Bounds, TaskFile, read_task_file

LEAST = {"name": "t", "input": "{{ a }}"}


def test_a_name_and_a_template_suffice() -> None:
    file = read_task_file(LEAST)
    assert (file.name, file.input, file.generation, file.where) == ("t", "{{ a }}", {}, {})


def test_every_key_says_what_it_means_and_every_template_is_one() -> None:
    for name, field in TaskFile.model_fields.items():
        assert field.description, name
    assert set(TEMPLATES) < TaskFile.model_fields.keys()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"instruction": "x"}, "unknown key 'instruction'. Did you mean 'instructions'?"),
        ({"schemas": "x"}, "unknown key 'schemas'. Did you mean 'schema'?"),
        ({"where": {"d": {"minimum": 1}}}, "unknown key 'where.d.minimum'. Did you mean 'min'? Known here: min, max."),
        ({"where": {"d": {}}}, "where.d: say min, max or both"),
        ({"where": {"d": {"min": 2, "max": 1}}}, "where.d: min 2 is above max 1, so no row would be used"),
        ({"where": {"d": {"min": "1"}}}, "where.d.min: should be a valid number, not '1'"),
        ({"where": {"d": {"min": True}}}, "where.d.min: should be a valid number, not True"),
        ({"name": 3}, "name: should be a valid string, not 3"),
        ({"input": ""}, "input: String should have at least 1 character"),
        ({"examples": [{"input": "a"}]}, "the key 'examples.0.output' is missing: The answer"),
        ({"examples": [{"input": 3, "output": "a"}]}, "examples.0.input: should be a valid string, not 3"),
        ({"at_most": 0, "each": "x"}, "at_most: should be greater than or equal to 1"),
        ({"at_most": 1}, "'at_most' needs 'each'"),
        ({"reasoning": "{{ a }}"}, "'reasoning' needs 'answer'"),
        ({"generation": {"temperature": [1]}}, "generation.temperature"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(more: dict[str, Any], said: str) -> None:
    with pytest.raises(pillm.ConfigError) as caught:
        read_task_file({**LEAST, **more})
    assert said in str(caught.value)
    assert "constrained" not in str(caught.value)


def test_a_missing_key_is_told_with_its_meaning() -> None:
    with pytest.raises(pillm.ConfigError, match="'input' is missing: What is asked of one row"):
        read_task_file({"name": "t"})


def test_bounds_include_both_ends() -> None:
    bounds = Bounds(min=2, max=4)
    assert [bounds.refusal(value) for value in (1.99, 2, 4, 4.01)] == ["below 2", None, None, "above 4"]
    assert Bounds(max=0).refusal(-5) is None
