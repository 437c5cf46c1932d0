"""What an answer could not be held to is told of a schema alone, before a model is opened."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pillm_hf import HFRunner, HFTeacher
from pillm_hf.answering.grammars import grammar_of

import pillm

GOOD = {"type": "object", "properties": {"room": {"enum": ["a", "b"]}}, "required": ["room"], "additionalProperties": False}
BAD = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}


def prompts(*schemas: dict[str, Any] | None) -> list[pillm.Prompt]:
    messages = ({"role": "user", "content": "?"},)
    return [pillm.Prompt(id=f"r{number}", messages=messages, schema=one) for number, one in enumerate(schemas)]


@pytest.mark.parametrize("backend", [HFRunner(constrain=True), HFTeacher(model="nobody/has-this-here", constrain=True)])
def test_a_row_whose_schema_cannot_be_held_to_is_named_before_anything_is_asked(backend: HFRunner | HFTeacher) -> None:
    backend.check_prompts(prompts(GOOD, None, GOOD))
    with pytest.raises(pillm.ConfigError, match=r"^r1: `constrain` cannot hold answers to this schema: .*uniqueItems"):
        backend.check_prompts(prompts(GOOD, BAD))
    with pytest.raises(pillm.ConfigError, match=r"^r0: its schema is not valid: 'flower' is not valid"):
        backend.check_prompts(prompts({"type": "flower"}))


def test_who_holds_nothing_refuses_nothing() -> None:
    HFRunner().check_prompts(prompts(BAD))


def test_a_grammar_is_one_that_llguidance_reads() -> None:
    assert "properties" in grammar_of(GOOD, "here")


def test_looking_at_schemas_loads_no_torch() -> None:
    code = (
        "import sys, pillm; from pillm_hf import HFRunner; "
        "HFRunner(constrain=True).check_prompts([pillm.Prompt(id='a', messages=(), schema={'type': 'object'})]); "
        "print('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
