"""From a JSON Schema to a grammar that holds answers to it, and to the check of what came out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pillm
from pillm_llamacpp.grammars.schemas import OPEN_INTEGERS, Unsupported, simplify

_CHAR = r'char ::= [^"\\] |'
_STRICT_CHAR = r'char ::= [^"\\\x00-\x1F\x7F] |'


@dataclass(frozen=True, slots=True)
class Compiled:
    """A schema's grammar and its validator."""

    gbnf: str
    validator: Any

    def fault(self, text: str) -> str | None:
        """Return why an answer does not satisfy the schema, or None where it does."""
        try:
            value = json.loads(text)
        except ValueError as error:
            return f"it is not JSON ({error})"
        fault = next(iter(self.validator.iter_errors(value)), None)
        return f"{fault.message} at {fault.json_path}" if fault else None


def fingerprint(schema: dict[str, Any]) -> str:
    """Return a short name for a schema's content."""
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()


def compile_schema(schema: dict[str, Any], *, where: str) -> Compiled:
    """Return the grammar of a schema; raise ConfigError naming the first construct that it could not be held to."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    try:
        Draft202012Validator.check_schema(schema)
        simple = simplify(schema)
    except SchemaError as error:
        raise pillm.ConfigError(f"{where}: its schema is not valid: {error.message} at {error.json_path}.") from error
    except Unsupported as error:
        raise pillm.ConfigError(
            f"{where}: `constrain` cannot hold answers to this schema: {error}. Nothing was asked for it. "
            "Say it with supported keywords, or set constrain=false and let the schema be checked afterwards."
        ) from error
    gbnf = json_schema_to_gbnf(json.dumps(simple))
    for stand_in, numbers in OPEN_INTEGERS.values():
        gbnf = gbnf.replace(f'"\\"{stand_in}\\""', numbers)
    return Compiled(_without_controls(gbnf), Draft202012Validator(schema))


def _without_controls(gbnf: str) -> str:
    """Forbid raw control characters in strings, which the converter's rule allows and JSON does not."""
    strict = gbnf.replace(_CHAR, _STRICT_CHAR)
    if "\nchar ::= " in f"\n{gbnf}" and _STRICT_CHAR not in strict:
        raise pillm.PluginError("the installed llama-cpp-python writes another rule for characters; use version 0.3.36.")
    return strict
