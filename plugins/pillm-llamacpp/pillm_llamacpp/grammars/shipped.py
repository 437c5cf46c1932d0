"""The answer grammar beside a file, where all rows of its data ask for answers of one schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.grammars.grammar import compile_schema

if TYPE_CHECKING:
    from pathlib import Path

GRAMMAR, SCHEMA = "grammar.gbnf", "answer.schema.json"


def write_grammar(out: Path, checkpoint: pillm.Checkpoint) -> str | None:
    """Write the schema that all rows name, and the grammar that holds answers to it; return why there is no grammar, if so.

    Nothing is written, and nothing said, where the rows name none or several.
    """
    schema = pillm.read_lineage(checkpoint).get("schema")
    if not isinstance(schema, dict):
        return None
    (out / SCHEMA).write_text(json.dumps(schema, ensure_ascii=False, indent=2) + "\n", "utf-8")
    try:
        compiled = compile_schema(schema, where="the rows' schema")
    except pillm.ConfigError as error:
        return f"no {GRAMMAR} is written: {error}"
    (out / GRAMMAR).write_text(compiled.gbnf, "utf-8")
    return None
