"""The schema of `report.json` and its file are the same."""

from __future__ import annotations

from pathlib import Path

from jsonschema import Draft202012Validator

from pillm.report.schema import SCHEMA, schema_text

FILE = Path(__file__).resolve().parents[1] / "schemas/report.schema.json"


def test_the_published_file_is_made_from_the_source() -> None:
    assert FILE.read_text("utf-8") == schema_text(), (
        "write schema_text() of pillm.report.schema into schemas/report.schema.json"
    )


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_promised_keys_are_required() -> None:
    promised = {"rows", "parity", "models", "evaluations", "benchmarks", "seconds", "versions"}
    assert promised <= set(SCHEMA["required"])
    rows = SCHEMA["properties"]["rows"]
    assert set(rows["required"]) == {"in", "answered", "rejected", "failed", "pending"}
    kinds = SCHEMA["properties"]["evaluations"]["items"]["properties"]["kind"]["enum"]
    assert kinds == ["teacher", "base", "adapter", "checkpoint", "model", "device"]
