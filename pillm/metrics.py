"""The built-in metrics, as a plugin like any other."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any, ClassVar

from pillm.backends import Metric
from pillm.extraction import extract_json
from pillm.hookspecs import hookimpl
from pillm.judging import Judge
from pillm.records import Answer, JSONObject, Prompt, canonical, schema_digest
from pillm.rows import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jsonschema.protocols import Validator


def answer_json(text: str) -> Any:
    """Return the JSON value of an answer that is nothing else, fenced or not; raise ValueError where there is none."""
    found = extract_json(text)
    if found.where == "fence in prose":  # a program that reads the answer would trip over the words
        raise ValueError("other text surrounds the fenced block")
    return found.value


_VALIDATORS: dict[str, Validator] = {}


def _validator(key: str, schema: JSONObject) -> Validator:
    from jsonschema.validators import validator_for
    from referencing import Registry

    if key not in _VALIDATORS:
        cls = validator_for(schema)
        cls.check_schema(schema)
        _VALIDATORS[key] = cls(schema, registry=Registry())  # an empty registry: a remote $ref is never fetched
    return _VALIDATORS[key]


_FAULTS: dict[tuple[str, str], tuple[str, str] | None] = {}
_FAULTS_KEPT, _FAULT_TEXT = 1 << 14, 1 << 12
"""Teacher, student and its files give the same answers again and again; so many are remembered, of so many characters."""


def schema_fault(schema: JSONObject, value: Any, text: str | None = None) -> tuple[str, str] | None:
    """Return where and why a value breaks a JSON Schema, as (JSON path, reason), or None; raise ValueError for a bad schema.

    `text` is the value's own JSON text, where it is at hand.
    """
    from jsonschema.exceptions import SchemaError, best_match
    from referencing.exceptions import Unresolvable

    key = (schema_digest(schema), json.dumps(value) if text is None else text)
    if key in _FAULTS:
        return _FAULTS[key]
    try:
        error = best_match(_validator(key[0], schema).iter_errors(value))
    except SchemaError as bad:
        raise ValueError(f"the schema itself is wrong at {bad.json_path}: {bad.message}") from bad
    except Unresolvable as bad:
        raise ValueError(f"the schema refers to {bad.ref!r}, which is not in it; remote references are never fetched") from bad
    fault = (error.json_path, error.message) if error else None
    if len(_FAULTS) >= _FAULTS_KEPT:
        _FAULTS.clear()
    if len(key[1]) <= _FAULT_TEXT:
        _FAULTS[key] = fault
    return fault


def schema_error(schema: JSONObject, value: Any) -> str | None:
    """Return what is wrong with a value under a JSON Schema as "path: reason", or None; raise ValueError for a bad schema."""
    fault = schema_fault(schema, value)
    return f"{fault[0]}: {fault[1]}" if fault else None


class Exact(Metric):
    """Equality with the reference: of JSON values where the row has a schema, else of NFC text without outer space.

    Where either has tool calls, these must be the same too: in order, by name and arguments as JSON values; their ids do not
    matter, and the text beside them is compared as text unless the reference's is the JSON that the schema asks for.
    """

    name: ClassVar[str] = "exact"

    def score(self, prompt: Prompt, answer: Answer) -> float | None:
        """Return 1 or 0; None without a reference."""
        if prompt.reference is None:
            return None
        truth = prompt.reference
        try:
            calls = _calls(truth.tool_calls)
            if calls != _calls(answer.tool_calls):
                return 0.0
            if prompt.schema is None or (calls and not truth.content.strip()):  # a call in the place of JSON
                return float(_plain(answer.content) == _plain(truth.content))
            return float(json_text(answer_json(answer.content)) == json_text(answer_json(truth.content)))
        except ValueError:
            return 0.0


class ValidJSON(Metric):
    """The answer is JSON; applies to rows with a schema."""

    name: ClassVar[str] = "json"

    def applies(self, prompt: Prompt) -> bool:
        """Say whether the row asks for JSON."""
        return prompt.schema is not None

    def score(self, prompt: Prompt, answer: Answer) -> float | None:
        """Return 1 or 0; None for rows that ask for no JSON."""
        if prompt.schema is None:
            return None
        try:
            answer_json(answer.content)
        except ValueError:
            return 0.0
        return 1.0


class SatisfiesSchema(Metric):
    """The answer satisfies the row's JSON Schema; applies to rows with a schema."""

    name: ClassVar[str] = "schema"

    def applies(self, prompt: Prompt) -> bool:
        """Say whether the row asks for JSON."""
        return prompt.schema is not None

    def score(self, prompt: Prompt, answer: Answer) -> float | None:
        """Return 1 or 0; None for rows that ask for no JSON."""
        if prompt.schema is None:
            return None
        try:
            value = answer_json(answer.content)
        except ValueError:
            return 0.0
        return float(schema_error(prompt.schema, value) is None)


class Fields(Metric):
    """F1 over the fields of the JSON answer: a field is right when its path and its value are."""

    name: ClassVar[str] = "fields"

    def applies(self, prompt: Prompt) -> bool:
        """Say whether the row asks for JSON."""
        return prompt.schema is not None

    def score(self, prompt: Prompt, answer: Answer) -> float | None:
        """Return the F1 of the row in 0..1; None where reference or schema is missing."""
        if prompt.reference is None or prompt.schema is None:
            return None
        try:
            wanted = set(leaves(answer_json(prompt.reference.content)))
            got = set(leaves(answer_json(answer.content)))
        except ValueError:
            return 0.0
        if not wanted and not got:
            return 1.0
        return 2 * len(wanted & got) / (len(wanted) + len(got))


def leaves(value: Any, path: str = "$") -> Iterator[tuple[str, str]]:
    """Yield (path, canonical value) of every leaf of a JSON value; an empty container is a leaf."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            name = unicodedata.normalize("NFC", key)
            yield from leaves(item, f"{path}.{name}" if name.isidentifier() else f"{path}[{canonical(name)}]")
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, json_text(value)


def json_text(value: Any) -> str:
    """Return the one text of a JSON value: as `canonical`, and 1.0 is the number 1; raise ValueError for infinity."""
    return canonical(_whole(value))


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def call_parts(call: JSONObject) -> tuple[Any, Any]:
    """Return name and arguments of a tool call, these as a JSON value; raise ValueError where they are not JSON."""
    function = call.get("function")
    function = function if isinstance(function, dict) else call
    given = function.get("arguments")
    if given is None or (isinstance(given, str) and not given.strip()):
        given = {}  # some servers write the arguments of a call that has none so
    return function.get("name"), parse_json(given) if isinstance(given, str) else given


def _calls(calls: Iterable[JSONObject]) -> list[str]:
    """Return each tool call as one text; raise ValueError where its arguments are not JSON."""
    return [json_text(list(call_parts(call))) for call in calls]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


@hookimpl
def pillm_metrics() -> list[type[Metric]]:
    """Return the metrics that pillm brings itself."""
    return [Exact, ValidJSON, SatisfiesSchema, Fields, Judge]
