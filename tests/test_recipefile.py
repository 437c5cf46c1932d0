"""What a recipe file may say."""

from __future__ import annotations

import pytest

from pillm.errors import ConfigError
from pillm.recipefile import RecipeFile, read_recipe_file

NEEDED = {"prompts": "rows.jsonl", "teacher": {"use": "t"}, "trainer": {"use": "t"}, "exporter": {"use": "t"}}


def test_every_key_of_a_recipe_is_described() -> None:
    for name, spec in RecipeFile.model_json_schema()["properties"].items():
        assert spec.get("description") or "$ref" in spec, name


def test_text_is_read_as_its_key_wants_it() -> None:
    found = read_recipe_file(
        {**NEEDED, "device": "none", "evaluate": {"metrics": "exact,json", "max_rows": "7"}, "split": {"test": "3"}}
    )
    assert (found.device, found.evaluate.metrics, found.evaluate.max_rows, found.split.test) == (None, ["exact", "json"], 7, 3)


def test_every_fault_is_said_at_once() -> None:
    with pytest.raises(ConfigError, match=r"'prompts' is missing.*unknown key 'sed'\. Did you mean 'seed'\?"):
        read_recipe_file({**{key: value for key, value in NEEDED.items() if key != "prompts"}, "sed": 3})


def test_the_schema_is_told_as_text_or_not_at_all() -> None:
    with pytest.raises(ConfigError, match=r"label\.schema_in_prompt: .*not 'tools'"):
        read_recipe_file({**NEEDED, "label": {"schema_in_prompt": "tools"}})
