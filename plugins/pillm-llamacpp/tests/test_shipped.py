from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pillm_llamacpp.grammars.shipped import GRAMMAR, SCHEMA, write_grammar
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp_tiny import answers, request

import pillm

LIGHT = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": False}


def told(folder: Path, schema: Any) -> pillm.Checkpoint:
    folder.mkdir(exist_ok=True)
    (folder / "lineage.json").write_text(json.dumps({"lineage_version": 1, "schema": schema}))
    return pillm.Checkpoint(path=folder)


def test_rows_of_one_schema_ship_it_and_its_grammar(tmp_path: Path, gguf: pillm.ModelFile) -> None:
    assert write_grammar(tmp_path, told(tmp_path / "train", LIGHT)) is None
    assert json.loads((tmp_path / SCHEMA).read_text()) == LIGHT
    assert "root ::=" in (tmp_path / GRAMMAR).read_text()
    # a random model held to it can say nothing else
    (held,) = answers(LocalRunner(constrain=True, max_tokens=64), gguf, [request(schema=LIGHT)])
    assert isinstance(held, pillm.Answer)
    assert set(json.loads(held.content)) == {"on"}


def test_a_schema_that_no_grammar_holds_ships_alone_and_says_why(tmp_path: Path) -> None:
    schema = {**LIGHT, "not": {"required": ["off"]}}
    assert GRAMMAR in str(write_grammar(tmp_path, told(tmp_path / "train", schema)))
    assert (tmp_path / SCHEMA).is_file()
    assert not (tmp_path / GRAMMAR).exists()


@pytest.mark.parametrize("schema", [None, "x"])
def test_rows_of_no_schema_ship_none(tmp_path: Path, schema: Any) -> None:
    assert write_grammar(tmp_path, told(tmp_path / "train", schema)) is None
    assert {path.name for path in tmp_path.iterdir()} == {"train"}
