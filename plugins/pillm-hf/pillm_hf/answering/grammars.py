"""Grammars of JSON Schemas, made and looked at with llguidance alone: no model, no tokenizer, no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pillm

# between values a blank, or a new line with its indent: a model that is at a loss must not write blanks for ever
_OPTIONS: Any = {"whitespace_pattern": r" |\n[ \t]{0,24}", "lenient": False}


def grammar_of(schema: dict[str, Any], where: str) -> str:
    """Return a schema's grammar; raise ConfigError naming what in the schema an answer could not be held to."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from llguidance import LLMatcher

    try:
        Draft202012Validator.check_schema(schema)
        grammar = str(LLMatcher.grammar_from_json_schema(schema, overrides=_OPTIONS))
    except SchemaError as error:
        raise pillm.ConfigError(f"{where}: its schema is not valid: {error.message} at {error.json_path}.") from error
    except ValueError as error:
        raise refused(where, str(error)) from error
    if wrong := LLMatcher.validate_grammar(grammar):
        raise refused(where, wrong)
    return grammar


def check_schemas(prompts: Sequence[pillm.Prompt]) -> None:
    """Raise ConfigError naming the first row whose schema no grammar can hold answers to."""
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.schema is not None and (key := json.dumps(prompt.schema, sort_keys=True)) not in seen:
            grammar_of(prompt.schema, prompt.where or prompt.id)
            seen.add(key)


def refused(where: str, reason: str) -> pillm.ConfigError:
    """Return the error of a schema that answers cannot be held to."""
    return pillm.ConfigError(
        f"{where}: `constrain` cannot hold answers to this schema: {' '.join(reason.split())}. Nothing was asked for it. "
        "Say it with supported keywords, or set constrain=false and let the schema be checked afterwards."
    )
