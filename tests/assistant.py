"""The assistant data set and the scripts that make it, which lie in a folder and are no package."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[1]
DATASET = ROOT / "dataset" / "assistant"
INTENTS = ROOT.parent / "shared" / "data" / "home-assistant-intents"
sys.path.insert(0, str(DATASET))

import build  # noqa: E402
import community  # noqa: E402
import generator  # noqa: E402
import layers  # noqa: E402
import moments  # noqa: E402
import spoken  # noqa: E402
import tools  # noqa: E402

__all__ = ["build", "community", "generator", "layers", "moments", "spoken", "tools"]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def prompt(row: dict[str, Any]) -> str:
    return str(row["messages"][0]["content"])


def call(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row["reference"]["content"])
    return found


def schema_validator() -> Draft202012Validator:
    """Return what checks an answer against the schema of the data set."""
    schema = json.loads((ROOT / "schemas" / "assistant.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)
