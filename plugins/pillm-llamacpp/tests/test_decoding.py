from __future__ import annotations

from pathlib import Path

import pytest
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp.teacher import GGUFTeacher

import pillm

GOOD = {"type": "object", "properties": {"n": {"type": "integer"}}}
BAD = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}


def prompts(*schemas: dict[str, object] | None) -> list[pillm.Prompt]:
    said = ({"role": "user", "content": "Oui"},)
    return [pillm.Prompt(id=f"row-{number}", messages=said, schema=schema) for number, schema in enumerate(schemas)]


def test_a_schema_that_answers_could_not_be_held_to_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    for backend in (LocalRunner(constrain=True), GGUFTeacher(constrain=True, model=tmp_path / "a.gguf")):
        backend.check_prompts(prompts(GOOD, None, GOOD))
        with pytest.raises(pillm.ConfigError, match=r"row-1: .*'uniqueItems' for type array .* at #"):
            backend.check_prompts(prompts(GOOD, BAD))


def test_without_constrain_any_schema_is_taken() -> None:
    LocalRunner().check_prompts(prompts(BAD))


def test_what_only_tunes_a_session_is_no_part_of_what_answers_are_known_by() -> None:
    assert LocalRunner(prefix="auto", threads=2).identity() == LocalRunner().identity()
