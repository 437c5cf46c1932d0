"""From a JSON Schema to a grammar that holds answers to it, and to the check of what came out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pillm
from pillm_llamacpp.grammars.inlining import inlined
from pillm_llamacpp.grammars.keywords import Unsupported
from pillm_llamacpp.grammars.schemas import grammar_of


@dataclass(frozen=True, slots=True)
class Compiled:
    """A schema's grammar and its validator."""

    gbnf: str
    validator: Any

    def fault(self, text: str) -> str | None:
        """Return why an answer does not satisfy the schema, or None where it does."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            return f"it is not JSON ({error})"
        fault = next(iter(self.validator.iter_errors(value)), None)
        return f"{fault.message} at {fault.json_path}" if fault else None


def fingerprint(schema: dict[str, Any]) -> str:
    """Return a short name for a schema's content, in which the order of the properties counts: answers keep it."""
    return hashlib.sha256(json.dumps(schema).encode()).hexdigest()


def compile_schema(schema: dict[str, Any], *, where: str) -> Compiled:
    """Return the grammar of a schema; raise ConfigError naming the first construct that it could not be held to."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
        gbnf = grammar_of(schema)
    except SchemaError as error:
        raise pillm.ConfigError(f"{where}: its schema is not valid: {error.message} at {error.json_path}.") from error
    except (Unsupported, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise pillm.ConfigError(
            f"{where}: `constrain` cannot hold answers to this schema: {reason}. Nothing was asked for it. "
            "Say it with supported keywords, or set constrain=false and let the schema be checked afterwards."
        ) from error
    return Compiled(gbnf, Draft202012Validator(inlined(schema)))
