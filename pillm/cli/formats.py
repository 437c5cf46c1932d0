"""The JSON Schemas of the files that pillm reads and writes, made from its own types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from pillm.artifacts import Benchmark, Evaluation, Plan
from pillm.cards.card import Card
from pillm.contract import Contract
from pillm.progress import Event
from pillm.records import Answer, JSONObject
from pillm.report.choiceschema import choice_schema
from pillm.rows import ROLES
from pillm.stages.predictions import Prediction
from pillm.store import MAKERS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def row_schema() -> JSONObject:
    """Return the schema of one native row; keys it does not name end in `metadata`."""
    text = {"type": "string"}
    texts = {"type": "array", "items": text}
    message = {
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": {"enum": list(ROLES)},
            "content": {"type": ["string", "null"]},
            "tool_calls": {"type": "array", "items": {"type": "object"}},
            "tool_call_id": text,
            "name": text,
        },
    }
    reference = {
        "type": "object",
        "properties": {
            "content": {"type": ["string", "null"]},
            "tool_calls": {"type": "array", "items": {"type": "object"}},
            "origin": text,
        },
    }
    return {
        "type": "object",
        "required": ["messages"],
        "properties": {
            "id": {"type": ["string", "integer"], "description": "Unique in its file; the line number where it is missing."},
            "messages": {
                "type": "array", "minItems": 1, "items": message,
                "description": "The conversation. A last assistant message is the answer, and the reference if none is given.",
            },
            "schema": {"type": ["object", "string"], "description": "A JSON Schema that the answer must satisfy, or its name."},
            "tools": {"type": "array", "items": {"type": "object"}, "description": "Tools that the model may call."},
            "reference": {"anyOf": [text, reference], "description": "The true answer; trainers never see it."},
            "rejected": {
                "anyOf": [text, message],
                "description": "A worse answer than the one to be learnt, as text or message; for preference training.",
            },
            "split": {**text, "description": "train, validation, calibration or test."},
            "group": {**text, "description": "Rows of one group are never divided between splits."},
            "source": {**text, "description": "Where the row comes from."},
            "license": {**text, "description": "The licence of its text, as an SPDX identifier."},
            "language": {**text, "description": "The language as a BCP 47 tag, such as fr-CA."},
            "tags": {**texts, "description": "Words that scores are also given for."},
            "parents": {**texts, "description": "The ids of the rows that this one was made from."},
            "metadata": {"type": "object", "description": "Anything else; unknown keys of a row end here."},
            "provenance": {"type": "object", "description": "How the answer was made; written by `pillm label`."},
        },
    }  # fmt: skip


def recipe_schema() -> JSONObject:
    """Return the schema of a recipe; a backend's own options are checked by the backend."""
    from pillm.recipefile import RecipeFile

    return RecipeFile.model_json_schema()


def task_schema() -> JSONObject:
    """Return the schema of a task file."""
    from pillm.taskfile import TaskFile

    return TaskFile.model_json_schema()


def report_schema() -> JSONObject:
    """Return the schema of `report.json`."""
    from pillm.report.schema import SCHEMA

    return SCHEMA


def answer_schema() -> JSONObject:
    """Return the schema of an answer as the store keeps it: usage as three counts, the raw bytes beside it."""
    made = _made_of(Answer)
    del made["$defs"], made["properties"]["raw"]
    counts = "Prompt tokens, completion tokens, and of the prompt the cached ones."
    made["properties"]["usage"] = {
        "type": "array",
        "items": {"type": "integer"},
        "minItems": 3,
        "maxItems": 3,
        "description": counts,
    }
    return made


def contract_schema() -> JSONObject:
    """Return the schema of `contract.json`: the contract, and the hash that names it."""
    made = _made_of(Contract)
    hashed = {"type": "string", "description": "The sha256 of all the rest, as canonical JSON."}
    return {**made, "properties": {**made["properties"], "hash": hashed}}


def manifest_schema() -> JSONObject:
    """Return the schema of `manifest.json`, which makes a folder a finished result."""
    text, whole = {"type": "string"}, {"type": "integer"}
    entry = {"type": "object", "required": ["sha256", "bytes"], "properties": {"sha256": text, "bytes": whole}}
    properties = {
        "manifest_version": {**whole, "description": "What is written now is 2; version 1 had no `sha256`."},
        "verb": {"enum": list(MAKERS), "description": "What made the folder."},
        "key": {**text, "description": "A hash of inputs, options and versions: where it is the same, nothing is made anew."},
        "parents": {"type": "object", "additionalProperties": text, "description": "What it was made from: name to hash."},
        "backends": {"type": "array", "items": {"type": "object"}, "description": "Each backend's options and version."},
        "seed": {"type": ["integer", "null"]},
        "finished": {**text, "format": "date-time"},
        "seconds": {"type": "number"},
        "counts": {"type": "object", "additionalProperties": whole},
        "results": {"type": "object", "description": "What the verb has to tell about its files."},
        "versions": {"type": "object", "additionalProperties": text, "description": "Of Python, pillm and the plugins."},
        "files": {"type": "object", "additionalProperties": entry, "description": "Every file by its path in the folder."},
        "sha256": {**text, "description": "Of this manifest without this line, as canonical JSON."},
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def _made_of(kind: type[Any]) -> JSONObject:
    """Return the schema of a dataclass as `to_json` writes it, which leaves out what is absent."""
    made = TypeAdapter(kind).json_schema()
    nullable = {name for name, spec in made["properties"].items() if {"type": "null"} in spec.get("anyOf", ())}
    made["required"] = [name for name in made.get("required", ()) if name not in nullable]
    return made


def _of(kind: type[Any]) -> Callable[[], JSONObject]:
    return lambda: _made_of(kind)


FORMATS: dict[str, tuple[str, Callable[[], JSONObject]]] = {
    "row": ("One line of a prompts or labelled file.", row_schema),
    "recipe": ("A recipe, for `pillm run`.", recipe_schema),
    "task": ("A task file: how the rows of a table become prompts, for `data prompts` and `label --task`.", task_schema),
    "report": ("report.json, what a run shows.", report_schema),
    "answer": ("An answer as the store keeps it.", answer_schema),
    "events": ("One line of events.jsonl: what a run is doing.", _of(Event)),
    "evaluation": ("The scores of one subject on one set of rows.", _of(Evaluation)),
    "predictions": ("One line of predictions.jsonl: a row as it was asked, answered and scored.", _of(Prediction)),
    "benchmark": ("How fast a model file is on a device.", _of(Benchmark)),
    "plan": ("Whether a model fits a device.", _of(Plan)),
    "card": ("card.json: what a model is, what it was made from, under what terms, and how good its files are.", _of(Card)),
    "choice": ("choice.json: the quantisations that an exporter tried, and why one ships.", choice_schema),
    "contract": ("contract.json: how rows become prompts, for teacher and student alike.", contract_schema),
    "manifest": ("manifest.json: what a folder holds, and how it was made.", manifest_schema),
}


def format_schema(name: str) -> JSONObject:
    """Return the complete JSON Schema of a format."""
    about, make = FORMATS[name]
    made = make()
    return {"$schema": DIALECT, "title": f"pillm {name}", "description": about, **made}
